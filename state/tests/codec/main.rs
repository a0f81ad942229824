//! The codec: what is encoded reads back, what is damaged or strange is refused by name, and a stored state comes back whole.
#![allow(clippy::unwrap_used, reason = "test")]

#[path = "../support/mod.rs"]
mod support;
#[allow(clippy::wildcard_enum_match_arm, reason = "a test that says what else it got")]
#[path = "../world/mod.rs"]
mod world;

mod refusals;
mod round_trip;
mod store;
