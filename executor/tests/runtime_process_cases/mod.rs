//! The process runtime's own cases, and how they and the shared ones become tests. Called by `runtime_process.rs`.

pub mod bench;
mod enforcement;
mod records;
pub mod survival;

use crate::Test;
use crate::runtime_conformance;
use bench::{Mode, bench, block_on};

/// All tests that make sense in this mode.
pub fn tests(mode: Mode) -> Vec<Test> {
    let mut cases = runtime_conformance::cases();
    cases.extend(survival::cases());
    cases.extend(records::cases());
    if mode == Mode::Strongest {
        cases.extend(enforcement::cases_with_pid_namespace());
        if rustix::process::geteuid().is_root() {
            cases.extend(enforcement::cases_of_root());
        }
    }
    let name = |case: &str| format!("{mode:?}::{case}");
    let test = |(case, run): (&str, runtime_conformance::Case)| Test {
        name: name(case),
        body: Box::new(move || {
            let (bench, _folder) = bench(mode);
            block_on(runtime_conformance::run(&bench, run));
        }),
    };
    cases.into_iter().map(test).collect()
}

/// A list of cases of one module.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        vec![$((stringify!($name), (|bench| futures::FutureExt::boxed($name(bench))) as crate::runtime_conformance::Case)),*]
    };
}
use cases;
