//! `berth why NAME`: who holds it, since when and why, what blocks, when a takeover is safe, why it is not placed; in words.

use berth_state::noun::container::Desired;
use berth_state::noun::fence::{Fence, FenceTry};
use berth_state::noun::lease::{Ended, GrantCause, Lease};
use berth_state::noun::volume::Takeover;
use clap::Args;

use crate::client::reason::Why;
use crate::context::Context;
use crate::failure::Failure;
use crate::noun::event;
use crate::noun::words::word;
use crate::output::table::printable;
use crate::output::time::utc;
use crate::parse::duration::milliseconds_text;

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A volume or container
    #[arg(value_name = "VOLUME|CONTAINER")]
    name: String,
}

impl WhyArgs {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        let why = cx.client.why(&self.name).await?;
        cx.out.show(&why, || text(&why))
    }
}

fn text(why: &Why) -> String {
    let mut out = match &why.lease {
        Some(lease) => held(why, lease),
        None => free(why),
    };
    section(&mut out, "What stands in the way:", why.blocks.iter().map(|line| printable(line)));
    section(&mut out, "Hosts, and why not there:", why.unplaced.iter().map(|r| printable(&format!("{}: {}", r.host, r.reason))));
    promise(&mut out, why);
    section(&mut out, "Last tries to fence:", why.fences.iter().flat_map(tries));
    if let Some(lease) = &why.lease {
        out.push_str(&format!("\n{}\n", takeover(why, lease)));
    }
    section(&mut out, "Lately:", why.history.iter().map(|e| event::line(e).trim_end().to_owned()));
    out.push_str(&format!("\nAs of revision {}.\n", why.revision));
    out
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.map(|line| format!("  {line}\n")).collect();
    if !lines.is_empty() {
        out.push_str(&format!("\n{title}\n{}", lines.concat()));
    }
}

fn promise(out: &mut String, why: &Why) {
    if why.rests_on.is_empty() {
        // A server of an earlier version.
        return section(out, "What the promise of one writer rests on:", why.promise.iter().map(|line| printable(line)));
    }
    let rung = why.rung.map_or_else(|| "none now".to_owned(), |rung| format!("{rung} of 0 to 6"));
    section(out, &format!("What the promise of one writer rests on (rung {rung}):"), why.rests_on.iter().map(|line| printable(line)));
    section(out, "What that cannot hold:", why.cannot_hold.iter().map(|line| printable(line)));
}

fn tries(fence: &Fence) -> Vec<String> {
    let line = |tried: &FenceTry| {
        let how = if tried.ok { "ok" } else { "failed" };
        let said = tried.output.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        let said = printable(said);
        format!(
            "{}  token {}: {} ({}) on node {}: {how}: {said}",
            utc(tried.time.0),
            fence.token,
            tried.agent,
            word(&tried.method),
            tried.node
        )
    };
    fence.tries.iter().map(line).collect()
}

fn held(why: &Why, lease: &Lease) -> String {
    let by = if why.subject == "volume" { format!(" for container {}", lease.container) } else { String::new() };
    let cause = match &lease.cause {
        GrantCause::Placed => "it was placed there".to_owned(),
        GrantCause::Relocated { from } => format!("it was moved or restarted on request (before: token {from})"),
        GrantCause::Failover { from } => format!("of a failover: the holder under token {from} was fenced"),
        GrantCause::Claimed => "it was claimed there by docker run or berth lease run".to_owned(),
    };
    let mut out = format!(
        "{} {} is held by host {}{by}, lease {}, token {}, since {}, because {cause}.\nThe lease is {}.",
        capital(&why.subject),
        why.name,
        lease.host,
        lease.id,
        lease.token,
        utc(lease.granted_time.0),
        word(&lease.phase)
    );
    if let Some(instance) = &lease.instance {
        out.push_str(&format!(" The instance is {} (attempt {}, {}).", word(&instance.state), instance.attempt, word(&instance.health)));
    }
    if let Some(silent_ms) = why.silent_ms {
        out.push_str(&format!(" Its holder was last heard {} ago.", milliseconds_text(silent_ms)));
    }
    out.push('\n');
    out
}

fn free(why: &Why) -> String {
    let mut out = format!("{} {} is held by nobody.", capital(&why.subject), why.name);
    let Some(container) = &why.container else { return out + "\n" };
    out.push_str(match container.desired {
        Desired::Running => " It is to run.",
        Desired::Stopped => " It is to be stopped.",
    });
    if let Some(exit) = &container.finished {
        out.push_str(&format!(" It ended for good with exit code {}: {}.", exit.code, printable(&exit.reason)));
    }
    if let Some(last) = &container.last_lease {
        let ended = match &last.ended {
            Ended::Withdrawn { why } => format!("was withdrawn ({})", word(why)),
            Ended::Released { .. } => "was released by its holder".to_owned(),
            Ended::Fenced { evidence } => format!("was fenced ({})", evidence.label()),
        };
        out.push_str(&format!(
            " Its last lease, {} on host {} (token {}), {ended} at {}.",
            last.lease,
            last.host,
            last.token,
            utc(last.time.0)
        ));
    }
    out.push('\n');
    out
}

fn takeover(why: &Why, lease: &Lease) -> String {
    let confirm = format!("`berth fence confirm {}/{} --reason …`", lease.id, lease.token);
    match (why.earliest_takeover_ms, lease.takeover()) {
        (Some(0), _) => "If the holder stays silent, another host may take over now.".to_owned(),
        (Some(ms), _) => {
            format!("If the holder stays silent from now on, another host may take over in {} at the earliest.", milliseconds_text(ms))
        }
        (None, Takeover::AfterFence) => {
            let retry = why.fence_retry_ms.map(|ms| format!(" The next try is in {}.", milliseconds_text(ms))).unwrap_or_default();
            format!(
                "If the holder falls silent it is fenced, and another host may take over as soon as that is acknowledged.{retry} Else by {confirm}."
            )
        }
        (None, Takeover::AfterExpiry | Takeover::Manual) => {
            format!("Time alone never makes a takeover safe: it needs the holder's release, a fence, or your word ({confirm}).")
        }
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
