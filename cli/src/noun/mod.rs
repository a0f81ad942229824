//! One file per noun: its subcommands, their arguments and what they print. [`words`]: states as one word, the same in tables and JSON.

pub mod container;
pub mod event;
pub mod fence;
pub mod host;
pub mod lease;
#[cfg(feature = "executor")]
pub mod lease_run;
pub mod node;
pub mod volume;
pub mod words;
