//! The client commands as a user runs them: the real binary against a scripted control node in this process. The node applies real commands to a
//! real `ClusterState`, so that outcomes and rejections are the true ones; only its moods (not leader, no quorum, lost answers) are scripted.
//! Nothing is timed: what must end by itself is given a short `--timeout`, and how long it took is not looked at.

#![allow(clippy::unwrap_used, reason = "test")]

mod config;
mod exit_codes;
mod fake;
mod fencing;
mod follow;
mod leader;
mod proof;
mod reads;
mod run;
mod wait;
mod world;
mod writes;
