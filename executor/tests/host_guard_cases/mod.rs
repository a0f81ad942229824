//! The cases of `host_guard.rs`.

pub mod bench;
mod deadline;
mod keeping;
mod volume;
mod watchdog;

type Case = (&'static str, fn());

pub fn all() -> Vec<Case> {
    [deadline::cases(), keeping::cases(), watchdog::cases(), volume::cases()].concat()
}

/// A list of cases of one module.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        vec![$((stringify!($name), $name as fn())),*]
    };
}
use cases;
