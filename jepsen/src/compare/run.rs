//! All cases of the comparison, interleaved: round by round, fault by fault, one system after the other, each on three fresh hosts. Called by the `compare`
//! subcommand; writes the results after each case, so that a run that is stopped has not run in vain.

use crate::compare::document;
use crate::compare::faults::{Fault, Outcome, carry_out};
use crate::compare::image::WriterImage;
use crate::compare::interrupt;
use crate::compare::lines::BootNs;
use crate::compare::spread::seconds;
use crate::compare::stage::Stage;
use crate::compare::system::SystemKind;
use crate::lab::{missing_requirements, run_command};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A document with fewer rounds of each case than this is no comparison and does not replace one.
const FULL_ROUNDS: u32 = 3;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// How often each fault is done to each system
    #[arg(long, value_name = "N", default_value_t = FULL_ROUNDS)]
    pub rounds: u32,
    /// Only this fault; may be repeated
    #[arg(long = "fault", value_enum)]
    pub faults: Vec<Fault>,
    /// Only this system; may be repeated
    #[arg(long = "system", value_enum)]
    pub systems: Vec<SystemKind>,
    /// The Berth to compare [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub berth: Option<PathBuf>,
    /// The program that writes in the container [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub writer: Option<PathBuf>,
    /// Where the document goes [default: docs/comparison.md for a full run, else target/reports/comparison.md]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Measure nothing: write the document anew from the results of an earlier run
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["rounds", "faults", "systems"])]
    pub from: Option<PathBuf>,
}

/// One case, as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CaseRecord {
    pub(super) system: SystemKind,
    pub(super) fault: Fault,
    pub(super) round: u32,
    /// The machine's load average over a minute, in hundredths, before the fault: others at work slow both systems.
    pub(super) load_percent: u64,
    pub(super) outcome: Outcome,
}

/// Everything that a run measured, with what it ran on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) engine: String,
    pub(super) berth: String,
    pub(super) kernel: String,
    pub(super) cases: Vec<CaseRecord>,
    pub(super) failed: Vec<String>,
    /// The set-up commands of each system.
    pub(super) commands: BTreeMap<SystemKind, Vec<String>>,
}

/// # Errors
/// A case that failed, when all others have been done; an interruption.
pub fn run(args: &CompareArgs) -> Result<()> {
    if let (Some(from), Some(out)) = (&args.from, &args.out) {
        let text = fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
        return write(out, &document::render(&serde_json::from_str(&text)?));
    }
    let missing = missing_requirements();
    ensure!(missing.is_empty(), "the comparison needs three Docker hosts of its own: {}", missing.join("; "));
    ensure!(args.rounds > 0, "--rounds: at least one");
    interrupt::listen()?;
    let folders = Folders::find()?;
    let berth = args.berth.clone().unwrap_or_else(|| folders.programs.join("berth"));
    let writer = args.writer.clone().unwrap_or_else(|| folders.programs.join("compare-writer"));
    let plan = plan(args);
    let mut image = WriterImage::new(&writer, &folders.scratch)?;
    let mut results = Results { berth: version_of(&berth)?, kernel: kernel(), ..Results::default() };
    for (done, (round, fault, system)) in plan.iter().enumerate() {
        println!("[{}/{}] round {round}: {}, {} …", done + 1, plan.len(), fault.title(), system.title());
        let begun = BootNs::now();
        match one_case(*system, *fault, *round, &berth, &mut image, &mut results) {
            Ok(record) => {
                println!("        {} ({} in all)", summary(&record.outcome), seconds(BootNs::now().ms_since(begun)));
                results.cases.push(record);
            }
            Err(failed) => {
                println!("        FAILED: {failed:#}");
                results.failed.push(format!("round {round}: {}, {}: {failed:#}", fault.title(), system.title()));
            }
        }
        write(&folders.reports.join("compare.json"), &(serde_json::to_string_pretty(&results)? + "\n"))?;
        if interrupt::asked() {
            bail!("interrupted; what was measured is in {}", folders.reports.join("compare.json").display());
        }
    }
    let full = args.rounds >= FULL_ROUNDS && args.faults.is_empty() && args.systems.is_empty() && results.failed.is_empty();
    let usual = if full { PathBuf::from("docs/comparison.md") } else { folders.reports.join("comparison.md") };
    let out = args.out.clone().unwrap_or(usual);
    write(&out, &document::render(&results))?;
    println!("written: {}", out.display());
    ensure!(results.failed.is_empty(), "{} cases failed:\n{}", results.failed.len(), results.failed.join("\n"));
    Ok(())
}

/// All cases in their order: both systems meet the same hour of the machine.
fn plan(args: &CompareArgs) -> Vec<(u32, Fault, SystemKind)> {
    let faults = if args.faults.is_empty() { Fault::ALL.to_vec() } else { args.faults.clone() };
    let systems = if args.systems.is_empty() { SystemKind::ALL.to_vec() } else { args.systems.clone() };
    let of_round = |round| faults.iter().flat_map(move |fault| systems.clone().into_iter().map(move |system| (round, *fault, system)));
    (1..=args.rounds).flat_map(|round| of_round.clone()(round).collect::<Vec<_>>()).collect()
}

fn one_case(
    kind: SystemKind,
    fault: Fault,
    round: u32,
    berth: &Path,
    image: &mut WriterImage,
    results: &mut Results,
) -> Result<CaseRecord> {
    let stage = Stage::build(image)?;
    let load_percent = load_percent();
    let outcome = kind.start(&stage, berth).and_then(|mut system| {
        let outcome = carry_out(fault, round, &stage, system.as_mut());
        results.commands.entry(kind).or_insert_with(|| stage.commands());
        outcome
    });
    if results.engine.is_empty() {
        results.engine = stage.ask_docker("h1", &["version", "--format", "{{.Server.Version}}"]).unwrap_or_default();
    }
    if outcome.is_err() && !interrupt::asked() {
        keep_logs(&stage, image.folder(), &format!("logs-{round}-{fault:?}-{kind:?}"));
    }
    // The outcome first: a teardown that fails as well would hide why.
    let torn_down = stage.teardown();
    let record = CaseRecord { system: kind, fault, round, load_percent, outcome: outcome? };
    torn_down?;
    Ok(record)
}

fn keep_logs(stage: &Stage, folder: &Path, name: &str) {
    let to = folder.join(name);
    let _ = fs::remove_dir_all(&to);
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(stage.log_dir()).arg(&to);
    if run_command(Duration::from_secs(30), copy, "").is_ok() {
        println!("        logs kept in {}", to.display());
    }
}

fn summary(outcome: &Outcome) -> String {
    let seen = &outcome.measured;
    let recovery = seen.recovery_ms.map_or_else(|| "no new writer".to_string(), |ms| format!("new writer after {}", seconds(ms)));
    let still = if seen.still_two { ", two to the end" } else { "" };
    let ended = outcome.ended_after_undo_ms.map_or_else(String::new, |ms| format!(", the old one ended {} after the undoing", seconds(ms)));
    let leader = outcome.leaders.new_after_ms.map_or_else(String::new, |ms| format!(", new leader after {}", seconds(ms)));
    let (silence, both) = (seconds(seen.silence_ms), seconds(seen.overlap_ms));
    format!("{recovery}; silence {silence}; both {both}{still}; late lines {}{ended}{leader}", seen.late_lines)
}

struct Folders {
    /// Where this program and those beside it are.
    programs: PathBuf,
    reports: PathBuf,
    scratch: PathBuf,
}

impl Folders {
    fn find() -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let programs = program.parent().context("this program has no folder")?.to_path_buf();
        let target = programs.parent().context("this program is not in a cargo target folder")?;
        Ok(Self { reports: target.join("reports"), scratch: target.join("compare"), programs })
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn version_of(berth: &Path) -> Result<String> {
    let mut version = Command::new(berth);
    version.arg("--version");
    Ok(run_command(Duration::from_secs(30), version, "").context("build Berth first (make build)")?.trim().to_string())
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn load_percent() -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default().replace('.', "");
    first.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{CompareArgs, plan};
    use crate::compare::{Fault, SystemKind};

    #[test]
    fn the_systems_take_turns_within_each_fault_and_every_case_is_done_in_each_round() {
        let args = |rounds, faults, systems| CompareArgs { rounds, faults, systems, berth: None, writer: None, out: None, from: None };
        let all = plan(&args(3, vec![], vec![]));
        assert_eq!(all.len(), 3 * 6 * 2);
        assert_eq!(all[0], (1, Fault::HostKilled, SystemKind::Swarm));
        assert_eq!(all[1], (1, Fault::HostKilled, SystemKind::Berth));
        assert!(all.chunks(2).all(|pair| pair[0].1 == pair[1].1 && pair[0].2 != pair[1].2), "in turns");
        assert_eq!(plan(&args(1, vec![Fault::Frozen], vec![SystemKind::Berth])), vec![(1, Fault::Frozen, SystemKind::Berth)]);
    }
}
