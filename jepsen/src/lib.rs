//! Berth's proof: a lab of machines on this one, faults on real processes, and checkers of what clients saw. Nobody depends on it.

pub mod compare;
pub mod e2e;
pub mod fencing;
pub mod lab;
