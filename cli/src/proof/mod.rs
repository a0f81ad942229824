//! `berth proof`: reads the whole event history, from the control nodes or from a file, and checks by itself that no volume ever had two holders at once.
//! It asks no rule of `decide`: it says again, from the events alone, what must be true of them.
//!
//! - [`command`]: the subcommand. [`prover`]: one pass over the history; start here.
//! - [`chain`]: the rolling hash. [`mod@file`]: the exported form. [`book`], [`rules`]: who held what, and whether each hand-over was allowed.
//! - [`replay`]: the state that the events give. [`report`]: what is printed.

pub mod book;
pub mod chain;
pub mod command;
pub mod file;
pub mod prover;
pub mod replay;
pub mod report;
pub mod rules;
#[cfg(test)]
mod tests;
