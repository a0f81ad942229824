//! The program `berth-jepsen`: what is measured and proved for people to read, one subcommand each. Called by the Makefile; holds nothing but the choice.

use anyhow::Result;
use berth_jepsen::compare::{self, CompareArgs};
use berth_jepsen::fencing::{self, FenceReportArgs};
use clap::{Parser, Subcommand};

/// Berth's proof: comparisons and fault reports on a lab of machines made on this one
#[derive(Debug, Parser)]
#[command(name = "berth-jepsen")]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Berth against Docker Swarm: the same faults on the same hosts, judged by the same writer
    Compare(CompareArgs),
    /// Every fault against every storage: did the old holder write late, did its bytes arrive late, did two write at once
    FenceReport(FenceReportArgs),
}

fn main() -> Result<()> {
    match Options::parse().task {
        Task::Compare(args) => compare::run(&args),
        Task::FenceReport(args) => fencing::run(&args),
    }
}
