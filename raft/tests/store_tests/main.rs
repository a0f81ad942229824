//! Tests of the storage of a control node: one binary, so that RocksDB is linked once. Needs no root, no network.
//!
//! - `suite`: openraft's own storage tests. `restart`: what is there after a reopen. `durability`: what power loss and disk errors may do.
//! - `refusals`: what a store refuses to open on, and what it says. `torn_wal`: damage to RocksDB's log files.
//! - `snapshots`, `power_loss`: build, transfer, install, and every point in between. `kill`: SIGKILL at every point, on RocksDB.
//! - `golden`: bytes on disk that must never change.

#![allow(clippy::unwrap_used, reason = "test")]

mod durability;
mod golden;
mod history;
mod kill;
mod power_loss;
mod random;
mod refusals;
mod restart;
mod snapshots;
mod suite;
mod support;
mod torn_wal;
