//! `berth proof VOLUME`: the history from the control nodes, or from a file; also writes such a file.

use std::path::{Path, PathBuf};

use berth_state::ids::{Revision, VolumeId};
use berth_state::pb::api;
use clap::Args;

use super::chain::{Hash, Head, Record};
use super::file::{Export, Import, Item};
use super::prover::{Proof, Prover};
use super::report;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::say;

/// Check from the whole event history that a volume never had two holders; exit code 7 when that does not hold
#[derive(Debug, Args)]
pub struct ProofArgs {
    volume: VolumeId,
    /// Read an exported history instead of asking the control nodes
    #[arg(long, value_name = "FILE")]
    offline: Option<PathBuf>,
    /// Also write the history to a file, for a proof without us
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    export: Option<PathBuf>,
    /// The history must have this event, as an earlier proof printed it: finds one that was forged as a whole, or cut
    #[arg(long, value_name = "REV.SEQ:HASH")]
    expect: Vec<Head>,
}

impl ProofArgs {
    /// # Errors
    /// [`Failure::Unproven`] after everything was printed; any other [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        let mut prover = Prover::default();
        for head in &self.expect {
            prover.expect(*head, "--expect");
        }
        match &self.offline {
            Some(path) => offline(&mut prover, path)?,
            None => online(cx, &mut prover, self.export.as_deref()).await?,
        }
        let unknown = || Failure::NotFound(format!("the history knows no volume {}: see `berth volume ls`", self.volume));
        let proof = prover.finish(&self.volume).ok_or_else(unknown)?;
        cx.out.show(&proof, || report::text(&proof))?;
        ended(&proof)
    }
}

fn ended(proof: &Proof) -> Result<(), Failure> {
    if proof.holds {
        return Ok(());
    }
    Err(Failure::Unproven(format!("volume {}: {} findings: this history proves nothing", proof.volume, proof.findings.len())))
}

fn offline(prover: &mut Prover, path: &Path) -> Result<(), Failure> {
    let mut import = Import::open(path)?;
    let mut end = None;
    while let Some(item) = import.next()? {
        if end.is_some() {
            prover.unreadable("there is something after the line that says where the history ends".to_owned());
            return Ok(());
        }
        match item {
            Ok(Item::Record(record)) => prover.record(&record),
            Ok(Item::End(events, head)) => end = Some((events, head)),
            Err(why) => {
                prover.unreadable(why);
                return Ok(());
            }
        }
    }
    match end {
        Some((events, head)) if events == prover.events() && Some(head) == prover.head() => {}
        Some((events, head)) => {
            prover.note(None, "hash-chain", format!("the file should end after {events} events with {head}"));
        }
        None => prover.note(None, "hash-chain", "the file has no last line: its tail is cut off".to_owned()),
    }
    Ok(())
}

async fn online(cx: &mut Context, prover: &mut Prover, export: Option<&Path>) -> Result<(), Failure> {
    // What the registry stands at must be in the history: so a log that lost its tail is noticed.
    let registry = cx.client.read().await?;
    if let Some(head) = registry.history {
        prover.expect(head, "the registry");
    }
    let cluster = registry.cluster.as_ref().map(|cluster| cluster.id.to_string()).unwrap_or_default();
    let mut export = export.map(|path| Export::create(path, &cluster)).transpose()?;
    let mut take = |record: &Record| {
        prover.record(record);
        export.as_mut().map_or(Ok(()), |export| export.record(record))
    };
    match cx.client.raw_history(Revision(0), 0, &mut take).await {
        Ok(_) => {}
        // The node itself says that its history is not whole.
        Err(Failure::CorruptHistory { endpoint, message }) => prover.unreadable(format!("{endpoint}: {message}")),
        Err(failure) => return Err(failure),
    }
    if let Some(export) = export {
        export.finish()?;
        say("the history is exported; `berth proof VOLUME --offline FILE` checks it again");
    }
    Ok(())
}

/// A record as it came from a node.
///
/// # Errors
/// What it lacks.
pub fn record(pb: api::EventRecord) -> Result<Record, &'static str> {
    let hash = Hash::from_bytes(&pb.hash).ok_or("a hash of 32 bytes")?;
    Ok(Record { revision: pb.revision, seq: pb.seq, event: pb.event, hash })
}
