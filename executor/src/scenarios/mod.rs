//! The whole executor on a fake control plane (with the real rules of `berth-state`), a fake machine and a clock moved by hand. One file for each concern.
#![allow(clippy::unwrap_used, reason = "test")]

mod ending;
mod guarding;
mod host_guard;
mod leasing;
mod restart;
mod trouble;
