//! `berth demo`: the whole chain once through, on this machine, in under a minute: a cluster, a writer, two dead hosts and a dead leader, and the verdict of
//! the volume itself. Called by `main`. Leaves no process behind, however it ends, and touches nothing outside of its own scratch folder.
//!
//! - [`story`]: what happens, scene by scene. [`stage`]: the processes it happens to. [`census`]: whose end it may bring about.
//! - [`witness`]: the writer, a subcommand of its own. [`mod@line`]: what it writes and says. [`reports`]: its client.
//! - [`control`], [`words`]: talk with the cluster, events in words.
//! - [`verdict`], [`failover`], [`findings`]: what it all comes to; pure. [`fault`]: what was done and when.
//! - [`scratch`], [`ports`], [`talk`]: folder, ports, standard error.

mod census;
mod control;
mod failover;
mod fault;
mod findings;
mod line;
mod ports;
mod reports;
mod scratch;
mod stage;
mod story;
mod talk;
mod verdict;
pub mod witness;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::table::Table;
use crate::output::{Format, Output};
use findings::{Findings, Seen};
use reports::Reports;
use scratch::Scratch;
use stage::Stage;
use story::Story;
use talk::Talk;

/// Show it all on this machine: a cluster, a writer, dead hosts, a dead leader, and that nothing was lost
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave logs and data where they are
    #[arg(long)]
    keep: bool,
    /// Make the scratch folder in here [default: where temporary files go]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Control nodes: 3 or 5
    #[arg(long, default_value_t = 3, value_parser = nodes, value_name = "NUMBER")]
    nodes: usize,
    /// Hosts: from 2 to 9
    #[arg(long, default_value_t = 3, value_parser = hosts, value_name = "NUMBER")]
    hosts: usize,
}

/// The group has to survive the death of its leader.
fn nodes(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| matches!(number, 3 | 5)).ok_or_else(|| "3 or 5".to_owned())
}

/// Somebody has to take over.
fn hosts(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (2..=9).contains(number)).ok_or_else(|| "a number from 2 to 9".to_owned())
}

/// How long the connections of dead writers may take to be read to their end.
const SETTLE: Duration = Duration::from_secs(10);

/// Runs the demo, prints what it found, and says whether all was as it should be.
///
/// # Errors
/// It could not be carried out, or was interrupted; everything is taken down all the same.
pub async fn run(args: &DemoArgs, format: Format) -> anyhow::Result<bool> {
    let mut signals = Signals::listen()?;
    let talk = Talk::start();
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let reports = Reports::listen().await?;
    let mut stage = Stage::new(Scratch::create(&parent, args.keep)?, args.nodes, args.hosts)?;
    introduce(&stage, talk)?;
    let played = tokio::select! {
        played = perform(&mut stage, &reports, talk) => played,
        interrupted = signals.next() => Err(interrupted.into()),
    };
    let found = match played {
        Ok(found) => found,
        Err(error) => {
            stage.take_down().with_context(|| format!("also: {error:#}"))?;
            if !error.is::<Interrupted>() {
                // Its logs are the only witness now.
                stage.scratch.keep();
            }
            return Err(error.context(unfinished(&stage.scratch)));
        }
    };
    if !found.is_good() {
        stage.scratch.keep();
    }
    if stage.scratch.is_kept() {
        talk.step(&format!("logs and data stay in {}", stage.scratch.path().display()));
    }
    talk.part("");
    Output::new(format).show(&found, || found.text())?;
    Ok(found.is_good())
}

fn unfinished(scratch: &Scratch) -> String {
    let logs = if scratch.is_kept() { format!("; its logs are in {}", scratch.path().display()) } else { String::new() };
    format!("the demo did not come to its end, and every process of it is gone{logs}")
}

/// What is about to happen, and what holds the processes together here.
fn introduce(stage: &Stage, talk: Talk) -> anyhow::Result<()> {
    let (nodes, hosts) = (stage.nodes.len(), stage.hosts.len());
    talk.part(&format!(
        "berth demo: {nodes} control nodes and {hosts} hosts, all processes of this machine, in {}",
        stage.scratch.path().display()
    ));
    let enforcement = stage.enforcement()?;
    talk.more("What holds together what a host runs, as this user on this machine:");
    let mut table = Table::new(&["WHAT", "HERE"]);
    enforcement.lines().iter().for_each(|line| table.row([line.what.to_owned(), line.text.to_owned()]));
    talk.table(&table);
    Ok(())
}

/// The story, and what it comes to when everything is taken down.
async fn perform(stage: &mut Stage, reports: &Reports, talk: Talk) -> anyhow::Result<Findings> {
    let mut story = Story::new(stage, reports, talk);
    let ending = story.play().await?;
    let (faults, leader_changes) = (std::mem::take(&mut story.faults), std::mem::take(&mut story.leader_changes));
    drop(story);
    let taken_down = stage.take_down();
    // Only now can nobody write any more.
    let settled = reports.settle(SETTLE).await;
    let path = stage.scratch.storage().join(story::VOLUME).join(line::FILE);
    let file = std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    talk.step("every process is gone; the volume is read");
    let duration_ms = talk.elapsed_ms();
    let mut found = Findings::new(Seen { ending, faults, leader_changes, acks: reports.acks(), file, duration_ms });
    for left in [taken_down, settled].into_iter().filter_map(Result::err) {
        found.also_wrong(format!("{left:#}"));
    }
    Ok(found)
}

/// A signal asked the demo to end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted by {0}")]
struct Interrupted(&'static str);

/// The signals that ask it to; from here on they do not end the process by themselves.
struct Signals {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())?, hup: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.int.recv() => Interrupted("SIGINT"),
            _ = self.term.recv() => Interrupted("SIGTERM"),
            _ = self.hup.recv() => Interrupted("SIGHUP"),
        }
    }
}
