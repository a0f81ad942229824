//! `enforced.json`: what the guard did for one lease, and when. Written by the guard; read by the executor and by people. It proves nothing to the control
//! plane: that takes the executor's own look.

use std::fs;

use serde::{Deserialize, Serialize};

use super::folder::{self, RunFolder};

/// Repeats are counted, not listed; so many different things do not happen.
const MOST_ACTS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub token: u64,
    pub guard_pid: u32,
    /// As the page said it, ns of the holder's clock; 0: it was taken back.
    pub deadline_ns: u64,
    /// When the guard saw that it was over.
    pub noticed_ns: u64,
    /// Instance dead and write-back cut: nothing of this token writes any more.
    pub verified_ns: Option<u64>,
    pub acts: Vec<Act>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub kind: ActKind,
    /// The instance or the volume.
    pub what: String,
    /// First and last time.
    pub first_ns: u64,
    pub last_ns: u64,
    pub times: u64,
    pub ok: bool,
    pub outcome: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActKind {
    Kill,
    /// No process of the instance is left.
    Dead,
    Cut,
    Unmount,
}

impl Facts {
    /// What the guard has done for `token`; `None`: nothing that can be read.
    #[must_use]
    pub fn read(run: &RunFolder, token: u64) -> Option<Self> {
        serde_json::from_slice(&fs::read(run.facts(token)).ok()?).ok()
    }

    /// Adds an act. Whether it is news.
    pub fn add(&mut self, kind: ActKind, what: &str, now_ns: u64, result: Result<String, String>) -> bool {
        let (ok, outcome) = match result {
            Ok(outcome) => (true, outcome),
            Err(outcome) => (false, outcome),
        };
        let same = |act: &&mut Act| act.kind == kind && act.what == what;
        if let Some(last) = self.acts.iter_mut().rev().find(same).filter(|act| act.ok == ok && act.outcome == outcome) {
            (last.last_ns, last.times) = (now_ns, last.times + 1);
            return false;
        }
        if self.acts.len() < MOST_ACTS {
            self.acts.push(Act { kind, what: what.to_owned(), first_ns: now_ns, last_ns: now_ns, times: 1, ok, outcome });
        }
        true
    }

    /// Best effort: whether it is written must not matter to what is done.
    pub fn write(&self, run: &RunFolder) {
        // Not for a lease whose folder the executor has removed.
        if run.lease(self.token).is_dir()
            && let Ok(bytes) = serde_json::to_vec_pretty(self)
        {
            let _ = folder::replace(&run.facts(self.token), &bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_counted_and_a_change_is_news() {
        let mut facts = Facts { token: 7, ..Facts::default() };
        assert!(facts.add(ActKind::Kill, "x", 10, Ok("sent".to_owned())));
        assert!(!facts.add(ActKind::Kill, "x", 20, Ok("sent".to_owned())));
        assert!(facts.add(ActKind::Cut, "pg", 25, Err("busy".to_owned())));
        assert!(facts.add(ActKind::Cut, "pg", 30, Ok("shut down".to_owned())));
        assert_eq!(facts.acts.iter().map(|act| act.times).collect::<Vec<_>>(), [2, 1, 1]);
        for n in 0..1_000 {
            facts.add(ActKind::Cut, "pg", n, Err(n.to_string()));
        }
        assert_eq!(facts.acts.len(), MOST_ACTS);
    }

    #[test]
    fn facts_are_written_only_where_the_lease_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::make(folder.path()).unwrap();
        let facts = Facts { token: 7, ..Facts::default() };
        facts.write(&run);
        assert_eq!(Facts::read(&run, 7), None);
        fs::create_dir(run.lease(7)).unwrap();
        facts.write(&run);
        assert_eq!(Facts::read(&run, 7), Some(facts));
    }
}
