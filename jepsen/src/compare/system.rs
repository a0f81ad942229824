//! What the comparison needs of a system that runs containers: start the writer on a given host, say who leads, lose its leader. Implemented by `swarm` and
//! `berth`, used by the faults; must never say anything about who writes, because that is what is measured.

use crate::compare::berth::Berth;
use crate::compare::stage::Stage;
use crate::compare::swarm::Swarm;
use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemKind {
    Swarm,
    Berth,
}

impl SystemKind {
    pub(super) const ALL: [Self; 2] = [Self::Swarm, Self::Berth];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Swarm => "Docker Swarm",
            Self::Berth => "Berth",
        }
    }

    /// Sets the system up on the stage's three hosts, each of them a manager or control node too.
    pub(super) fn start(self, stage: &Stage, berth_binary: &Path) -> Result<Box<dyn System>> {
        Ok(match self {
            Self::Swarm => Box::new(Swarm::start(stage)?),
            Self::Berth => Box::new(Berth::start(stage, berth_binary)?),
        })
    }
}

/// The host whose manager or control node leads. The term only where the system tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leader {
    pub(super) host: String,
    pub(super) term: Option<u64>,
}

pub(super) trait System {
    /// Who leads, asked at every host but `except`; `None` when nobody says.
    fn leader(&self, stage: &Stage, except: Option<&str>) -> Option<Leader>;

    /// Starts the one writer, on `host`; afterwards it may run on every host.
    fn run_writer_on(&mut self, stage: &Stage, host: &str) -> Result<()>;

    /// `kill -9` of the process that leads on `host`.
    fn kill_leader(&mut self, stage: &Stage, host: &str) -> Result<()>;
}
