//! Scenarios: given a history, when an order comes, then this outcome. One file per chapter of the rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod claims;
mod fences;
mod fencing_actions;
mod gone;
mod grants;
mod keepalives;
mod leases;
mod lift;
mod registry;
mod requests;
mod secrets;
mod sessions;
mod suspicion;
#[path = "../world/mod.rs"]
mod world;
