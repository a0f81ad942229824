//! `berth fence …`: what proves that a former holder writes no more. `confirm` is a person's word for it, with name and reason, in the log. [`history`]:
//! every fence that ever was.

mod history;

use berth_state::Order;
use berth_state::command::FenceLease;
use berth_state::ids::{LeaseId, Token};
use berth_state::noun::fence::Fence;
use berth_state::noun::host::Health;
use berth_state::noun::lease::{Evidence, Lease, Phase};
use clap::{Args, Subcommand};

use super::lease::{ambiguous, exact, find};
use super::words::word;
use crate::client::actor;
use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::output::time::utc;
use crate::parse::target::{self, Target};

#[derive(Debug, Subcommand)]
pub enum FenceCommand {
    /// Fences done and under way, newest last
    Ls,
    /// Every fence with its attempts, their output and what proves that the holder is gone, newest last; from the event log, back to the first
    History {
        /// Only of this host, volume or container
        #[arg(value_name = "HOST|VOLUME|CONTAINER")]
        of: Option<String>,
    },
    /// One fence, by its token
    Show { token: Token },
    /// State that the holder of a lease is dead and writes no more. If it is not, two may write: make sure first
    Confirm(ConfirmArgs),
}

#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Lease id, token, host (all its leases), container, or LEASE/TOKEN
    #[arg(value_name = "LEASE|HOST|TOKEN", value_parser = target::parse)]
    target: Target,
    /// How you know; kept in the log with your name
    #[arg(long)]
    reason: String,
    /// Also for a lease whose host is live and renews it
    #[arg(long)]
    force: bool,
}

impl FenceCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Ls => {
                let registry = cx.client.read().await?;
                cx.out.show(&registry.fences, || table(&registry.fences))
            }
            Self::History { of } => history::run(cx, of.as_deref()).await,
            Self::Show { token } => {
                let registry = cx.client.read().await?;
                let found = registry.fences.iter().find(|f| f.token == token);
                let none =
                    || Failure::NotFound(format!("no fence of token {token}: see `berth fence ls`; older ones are in `berth events`"));
                cx.out.record(found.ok_or_else(none)?)
            }
            Self::Confirm(args) => confirm(cx, args).await,
        }
    }
}

async fn confirm(cx: &mut Context, args: ConfirmArgs) -> Result<(), Failure> {
    if args.reason.trim().is_empty() {
        return Err(Failure::Usage("--reason: say how you know that the holder is dead".to_owned()));
    }
    let registry = cx.client.read_as(false).await?;
    let found = match (targets(&registry, &args.target), &args.target) {
        // An exact one may have ended: whoever asks again for an unknown outcome gets the first answer.
        (Err(Failure::NotFound(_)), Target::Exact { .. }) => Vec::new(),
        (found, _) => found?,
    };
    if !args.force {
        found.iter().try_for_each(|lease| not_renewed(&registry, lease))?;
    }
    let leases: Vec<(LeaseId, Token)> = match &args.target {
        Target::Exact { lease, token } => vec![(*lease, *token)],
        Target::Number(_) | Target::Name(_) => found.iter().map(|lease| (lease.id, lease.token)).collect(),
    };
    // One request id names one order.
    if leases.len() > 1 && cx.client.has_request() {
        return Err(Failure::Usage("--request-id goes with one lease: name it as LEASE/TOKEN".to_owned()));
    }
    for (lease, token) in leases {
        confirm_one(cx, lease, token, &args.reason, exact(&args.target, lease, token)).await?;
    }
    Ok(())
}

/// A holder that renews its lease is not dead, whatever somebody believes.
fn not_renewed(registry: &Registry, lease: &Lease) -> Result<(), Failure> {
    let host = lease.host.as_str();
    let renewable = match lease.phase {
        Phase::Granted | Phase::Active => true,
        Phase::Closing | Phase::Expired => false,
    };
    if !renewable || registry.host(host)?.health != Health::Live {
        return Ok(());
    }
    Err(Failure::Alive(format!(
        "host {host} is live and renews lease {} (token {}) of container {}: its holder is not dead, and two would write. To stop it: `berth container \
         stop {}`, or `berth lease revoke {}`. If you know better (a program that answers for a dead one): --force",
        lease.id, lease.token, lease.container, lease.container, lease.id
    )))
}

async fn confirm_one(cx: &mut Context, lease: LeaseId, token: Token, reason: &str, retry: Retry) -> Result<(), Failure> {
    let evidence = Evidence::OperatorConfirmed { name: actor::name(), reason: reason.to_owned() };
    let accepted = cx.client.write(Order::FenceLease(FenceLease { lease, token, evidence }), retry).await?;
    cx.done(&accepted, &format!("lease {lease} (token {token}) is fenced on your word"))
}

/// A lease by number or container, or all leases of a host. A name that is both must be said more exactly.
fn targets<'a>(registry: &'a Registry, target: &Target) -> Result<Vec<&'a Lease>, Failure> {
    let name = match target {
        Target::Name(name) => name.clone(),
        Target::Number(number) => number.to_string(),
        Target::Exact { .. } => return Ok(vec![find(registry, target)?]),
    };
    let of_host: Vec<&Lease> = registry.leases.iter().filter(|l| l.host.as_str() == name).collect();
    match (find(registry, target), of_host.is_empty()) {
        (Ok(one), true) => Ok(vec![one]),
        (Ok(one), false) => Err(ambiguous(&name, &of_host.into_iter().chain([one]).collect::<Vec<_>>())),
        (Err(Failure::NotFound(_)), false) => Ok(of_host),
        (Err(Failure::NotFound(_)), true) if registry.host(&name).is_ok() => {
            Err(Failure::NotFound(format!("host {name} holds no lease: there is nothing to confirm")))
        }
        (Err(failure), _) => Err(failure),
    }
}

fn table(fences: &[Fence]) -> String {
    let mut table =
        Table::new(&["TOKEN", "LEASE", "CONTAINER", "HOST", "METHOD", "STARTED", "TRIES FAILED", "LAST TRY", "EVIDENCE", "DONE"]);
    for fence in fences {
        let last = fence.tries.last().map(|tried| format!("{}: {}", tried.agent, if tried.ok { "ok" } else { "failed" }));
        table.row([
            fence.token.to_string(),
            fence.lease.to_string(),
            fence.container.to_string(),
            fence.host.to_string(),
            fence.method.map(|m| word(&m)).unwrap_or_default(),
            utc(fence.started_time.0),
            fence.failed.to_string(),
            last.unwrap_or_default(),
            fence.done.as_ref().map(|d| word(&d.evidence)).unwrap_or_default(),
            fence.done.as_ref().map(|d| utc(d.time.0)).unwrap_or_default(),
        ]);
    }
    table.text()
}
