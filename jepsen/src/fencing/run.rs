//! All cases of the report, each on a cluster of its own. Called by the `fence-report` subcommand; writes the files after each case, so that a run that is
//! stopped has not run in vain.

use crate::e2e::target_dir;
use crate::fencing::analysis::{Measures, Seen, measure};
use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::report::{Case, Report, Sabotaged, header, line};
use crate::fencing::rig::{CONTAINER, Rig, RigPlan, VOLUME};
use crate::fencing::row::{Expected, MARGIN_MS, Row, faults_of};
use crate::fencing::scenarios::{self, Scenario, Setting, sabotage};
use crate::fencing::stamps::Ns;
use crate::fencing::tap::{ending, grants};
use crate::fencing::{control, failover};
use crate::lab::{GlusterServer, missing_requirements};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Defence {
    Guard,
    Cut,
    Ledger,
    Fence,
}

impl Defence {
    const ALL: [Self; 4] = [Self::Guard, Self::Cut, Self::Ledger, Self::Fence];

    pub fn word(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Cut => "cut",
            Self::Ledger => "ledger",
            Self::Fence => "fence",
        }
    }
}

#[derive(Debug, Args)]
pub struct FenceReportArgs {
    /// Only scenarios whose name contains this; may be repeated
    #[arg(long = "scenario", value_name = "TEXT")]
    pub scenarios: Vec<String>,
    /// Only this driver; may be repeated
    #[arg(long = "driver", value_enum)]
    pub drivers: Vec<DriverKind>,
    /// Only under this takeover rule; may be repeated
    #[arg(long = "takeover", value_enum)]
    pub rules: Vec<Rule>,
    /// Only with this defence taken away, to see whether the report notices; may be repeated
    #[arg(long = "defence-off", value_enum)]
    pub defences: Vec<Defence>,
    /// The few scenarios that `make test` runs, with their first driver
    #[arg(long)]
    pub short: bool,
    /// Only how fast takeovers are
    #[arg(long)]
    pub failover: bool,
    /// Only the negative control: Postgres on two hosts over one directory, without Berth
    #[arg(long)]
    pub control: bool,
    /// How often each takeover is timed
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub times: u32,
    /// Time to live of leases in the scenarios, in seconds; it must outlast an election after the last renewal
    #[arg(long, value_name = "SECONDS", default_value_t = 6)]
    pub ttl: u64,
    /// Where the files go [default: target/reports]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// # Errors
/// What is needed is missing; a row that is not as it must be, when all have been done.
pub fn run(args: &FenceReportArgs) -> Result<()> {
    let missing = missing_requirements();
    ensure!(missing.is_empty(), "the fencing report needs three Docker hosts of its own: {}", missing.join("; "));
    let out = args.out.clone().map_or_else(|| target_dir().map(|dir| dir.join("reports")), Ok)?;
    let mut report = Report::default();
    let everything = args.scenarios.is_empty()
        && args.drivers.is_empty()
        && args.rules.is_empty()
        && args.defences.is_empty()
        && !args.short
        && !args.failover
        && !args.control;
    println!("{}", header());
    for (scenario, setting) in chosen(args, &mut report.skipped) {
        match one_case(&scenario, setting, Duration::from_secs(args.ttl)) {
            Ok(case) => {
                println!("{}", line(&case.row));
                case.wrong.iter().for_each(|wrong| println!("      ✗ {wrong}"));
                report.cases.push(case);
            }
            Err(failed) => {
                println!("{:<30} {:<9} NOT CARRIED OUT: {failed:#}", scenario.name, setting.0.word());
                report.failed.push(format!("{}, {}: {failed:#}", scenario.name, setting.0.word()));
            }
        }
        report.write(&out)?;
    }
    let defences: &[Defence] = if everything { &Defence::ALL } else { &args.defences };
    for defence in defences {
        match sabotaged(*defence, Duration::from_secs(args.ttl)) {
            Ok(found) => report.sabotaged.push(found),
            Err(failed) => report.failed.push(format!("without {}: {failed:#}", defence.word())),
        }
        report.write(&out)?;
    }
    if everything || args.control {
        match control::postgres_starts_twice() {
            Ok(twice) => report.double_start_without_berth = Some(twice),
            Err(failed) => report.failed.push(format!("without Berth: {failed:#}")),
        }
    }
    if everything || args.failover {
        let mut failed = Vec::new();
        report.aims = failover::run(args.times, &mut failed, |_| {});
        report.failed.extend(failed);
    }
    report.write(&out)?;
    println!("\n{}\nwritten: {}", report.text(), out.join("fence.json").display());
    ensure!(report.is_ok(), "the report is not clean");
    Ok(())
}

/// What the arguments pick, in the order of the report. What this machine cannot do is said.
fn chosen(args: &FenceReportArgs, skipped: &mut Vec<String>) -> Vec<(Scenario, Setting)> {
    if args.failover || args.control || (!args.defences.is_empty() && args.scenarios.is_empty()) {
        return Vec::new();
    }
    let mut picked = Vec::new();
    for scenario in scenarios::all() {
        if args.short && !scenario.short || !args.scenarios.is_empty() && !args.scenarios.iter().any(|s| scenario.name.contains(s.as_str()))
        {
            continue;
        }
        let settings = if args.short { &scenario.settings[..1] } else { scenario.settings };
        let wanted = |(driver, rule): &&Setting| {
            (args.drivers.is_empty() || args.drivers.contains(driver)) && (args.rules.is_empty() || args.rules.contains(rule))
        };
        for setting in settings.iter().filter(wanted) {
            let storage = GlusterServer::missing().filter(|_| setting.0 == DriverKind::Glusterfs);
            match storage.or_else(scenario.needs) {
                Some(missing) => skipped.push(format!("{}, {}: {missing}", scenario.name, setting.0.word())),
                None => picked.push((scenario, *setting)),
            }
        }
    }
    picked
}

/// Carries out one scenario and judges it.
///
/// # Errors
/// It could not be carried out; that is no verdict.
pub fn one_case(scenario: &Scenario, setting: Setting, ttl: Duration) -> Result<Case> {
    let (driver, rule) = setting;
    let plan = RigPlan { driver, rule, ttl, power: scenario.power };
    let mut rig = if scenario.bare { Rig::start_without_container(plan)? } else { Rig::start(plan)? };
    let before = rig.why().unwrap_or_default();
    let done = (scenario.act)(&mut rig);
    // Without a container there was nothing to ask about before.
    let before = if scenario.bare { rig.cluster.cli().json(&["why", VOLUME]).unwrap_or_default() } else { before };
    if let Err(failed) = done {
        println!("{}", rig.berth(&["why", CONTAINER]).unwrap_or_else(|e| format!("{e:#}")));
        print_story(&rig);
        return Err(failed);
    }
    let mut case = judge(&rig, scenario, setting, &before)?;
    if !case.row.ok {
        print_story(&rig);
    }
    if let Err(left) = rig.teardown() {
        case.wrong.push(format!("teardown: {left:#}"));
        case.row.ok = false;
    }
    Ok(case)
}

fn judge(rig: &Rig, scenario: &Scenario, (driver, rule): Setting, before: &Value) -> Result<Case> {
    let (heard, stamps) = (rig.heard(), rig.stamps()?);
    // A slow mount's holder never wrote; and where nobody took over, nobody may be left to show an image's content.
    let silent = rig.missed() || scenario.name.contains("slow mount");
    ensure!(silent || stamps.count(rig.token) > 0, "the stamps of the former holder are gone");
    ensure!(scenario.bare || rig.watch().pages() > 0, "no deadline page was seen on any host");
    let moved = stamps.of.range(rig.token + 1..).any(|(_, own)| !own.is_empty());
    let later = stamps.of.range(rig.token + 1..).map(|(_, own)| own.len()).sum();
    let counts = (stamps.count(rig.token), later);
    let twins_ms = stamps.twins_ms();
    let seen = Seen {
        stamps: stamps.of,
        deadlines: rig.deadlines(),
        granted: grants(&heard),
        growth: rig.watch().growth(),
        fault: rig.fault(),
        end: Ns::now(),
    };
    let mut measures = measure(&seen);
    measures.overlap_ms = measures.overlap_ms.max(twins_ms);
    let evidence = ending(&heard, rig.lease_of(rig.token)).unwrap_or_else(|| "none".to_owned());
    let leave = (scenario.leave)(driver, rule);
    let bound = u64::try_from((rig.ttl() + scenario.outage_bound).as_millis()).context("an outage bound")?;
    let mut wrong = faults_of(&measures, &evidence, moved, (scenario.expected)(rule), leave, bound);
    if rig.missed() && matches!((scenario.expected)(rule), Expected::Moves(_)) {
        wrong.push("nobody had taken over when the wait for it was over".to_owned());
    }
    let shown = measures.late_ms > MARGIN_MS || measures.overlap_ms + measures.bytes_after_grant > 0;
    if let Some(open) = leave.filter(|open| shown && !before["cannot_hold"].to_string().contains(open.sentence)) {
        wrong.push(format!("`berth why` did not say that this rung leaves this open: {}", open.sentence));
    }
    let Measures { late_writes, late_ms, bytes_after_grant, overlap_ms, outage_ms } = measures;
    let row = Row {
        scenario: scenario.name.to_owned(),
        driver: driver.word().to_owned(),
        takeover: rule.word().to_owned(),
        late_writes,
        late_ms,
        bytes_after_grant,
        overlap_ms,
        outage_ms,
        rung: rung_that_held(&evidence, before["rung"].as_u64()),
        evidence,
        ok: wrong.is_empty(),
    };
    let leaves_open = leave.map(|leave| leave.sentence.to_owned());
    Ok(Case { row, leaves_open, wrong, blind_ms: rig.watch().longest_pause_ms(), stamps: counts })
}

/// The evidence names it where there was one; else what the volume stood on (`berth why`).
fn rung_that_held(evidence: &str, standing: Option<u64>) -> String {
    let named = match evidence {
        "storage-cut" => Some("5 storage fence"),
        "powered-off" => Some("6 power fence"),
        "operator-confirmed" => Some("operator's word"),
        _ => None,
    };
    let standing = || match standing {
        Some(0) => "0 grant rule",
        Some(1) => "1 executor",
        Some(2) => "2 guard",
        Some(3) => "3 host guard",
        Some(4) => "4 watchdog",
        Some(5) => "5 storage fence",
        Some(6) => "6 power fence",
        Some(_) | None => "unknown",
    };
    named.unwrap_or_else(standing).to_owned()
}

fn sabotaged(defence: Defence, ttl: Duration) -> Result<Sabotaged> {
    let scenario = sabotage::of(defence);
    Ok(Sabotaged::judge(defence, one_case(&scenario, scenario.settings[0], ttl)?))
}

/// For whoever has to find out why: the leases' events, from the fault on.
fn print_story(rig: &Rig) {
    for heard in &rig.heard() {
        let at = i128::from(heard.at.0) - i128::from(rig.fault().0);
        if at < 0 {
            continue;
        }
        println!("      {:>8} ms {}", at / 1_000_000, heard.event);
    }
}
