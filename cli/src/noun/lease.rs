//! `berth lease …`: the rights of hosts to run containers. Un-ended ones only; ended ones are in the event log.

use berth_state::Order;
use berth_state::command::RevokeLease;
use berth_state::ids::{LeaseId, Token};
use berth_state::noun::lease::{Lease, RevokeReason};
use clap::Subcommand;

use super::words::word;
use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::output::time::utc;
use crate::parse::target::{self, Target};

#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// All leases that have not ended
    Ls,
    /// One lease, by its id, its token, or its container
    Show {
        #[arg(value_parser = target::parse)]
        lease: Target,
    },
    /// Ask the holder to stop; the container is placed again unless it is to be stopped
    Revoke {
        /// Lease id, token, container, or LEASE/TOKEN
        #[arg(value_parser = target::parse)]
        lease: Target,
    },
    #[cfg(feature = "executor")]
    Run(Box<super::lease_run::RunArgs>),
}

impl LeaseCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Ls => {
                let registry = cx.client.read().await?;
                cx.out.show(&registry.leases, || table(&registry.leases))
            }
            Self::Show { lease } => {
                let registry = cx.client.read().await?;
                cx.out.record(find(&registry, &lease)?)
            }
            Self::Revoke { lease } => {
                let (id, token) = match lease {
                    Target::Exact { lease, token } => (lease, token),
                    Target::Number(_) | Target::Name(_) => {
                        let registry = cx.client.read_as(false).await?;
                        let found = find(&registry, &lease)?;
                        (found.id, found.token)
                    }
                };
                let order = Order::RevokeLease(RevokeLease { lease: id, token, reason: RevokeReason::Operator });
                let accepted = cx.client.write(order, exact(&lease, id, token)).await?;
                cx.done(&accepted, &format!("lease {id} (token {token}) revoked: its holder is asked to stop"))
            }
            // Talks to this host's executor, not to the cluster.
            #[cfg(feature = "executor")]
            Self::Run(_) => Err(Failure::Usage("`berth lease run` is no client command".to_owned())),
        }
    }
}

/// Named exactly, because a lease that has ended is not found a second time.
pub(super) fn exact(target: &Target, lease: LeaseId, token: Token) -> Retry {
    let from = match target {
        Target::Exact { .. } => return Retry::Same,
        Target::Number(number) => number.to_string(),
        Target::Name(name) => name.clone(),
    };
    Retry::Word { from, to: format!("{lease}/{token}") }
}

/// The one lease that is meant.
pub(super) fn find<'a>(registry: &'a Registry, target: &Target) -> Result<&'a Lease, Failure> {
    let none =
        |what: String| Failure::NotFound(format!("no un-ended lease {what}: see `berth lease ls`; ended ones are in `berth events`"));
    let all = registry.leases.iter();
    match target {
        Target::Exact { lease, token } => {
            all.clone().find(|l| l.id == *lease && l.token == *token).ok_or_else(|| none(format!("{lease}/{token}")))
        }
        Target::Number(number) => {
            let name = number.to_string();
            let hit = |l: &&Lease| l.id.0 == *number || l.token.0 == *number || l.container.as_str() == name;
            match all.clone().filter(hit).collect::<Vec<_>>().as_slice() {
                [] => Err(none(name)),
                [one] => Ok(one),
                several => Err(ambiguous(&name, several)),
            }
        }
        Target::Name(name) => all.clone().find(|l| l.container.as_str() == name).ok_or_else(|| none(format!("of a container {name}"))),
    }
}

pub(super) fn ambiguous(what: &str, leases: &[&Lease]) -> Failure {
    let names: Vec<String> = leases.iter().map(|l| format!("{}/{} ({} on {})", l.id, l.token, l.container, l.host)).collect();
    Failure::Usage(format!("{what} means several leases; name one of {}", names.join(", ")))
}

fn table(leases: &[Lease]) -> String {
    let mut table =
        Table::new(&["LEASE", "TOKEN", "CONTAINER", "HOST", "PHASE", "VOLUMES", "TAKEOVER", "GUARD", "CAUSE", "REVOKED", "GRANTED"]);
    for lease in leases {
        let volumes: Vec<&str> = lease.volumes.iter().map(|v| v.volume.as_str()).collect();
        table.row([
            lease.id.to_string(),
            lease.token.to_string(),
            lease.container.to_string(),
            lease.host.to_string(),
            word(&lease.phase),
            volumes.join(","),
            word(&lease.takeover()),
            word(&lease.guard),
            word(&lease.cause),
            lease.revoked.as_ref().map(|r| word(&r.reason)).unwrap_or_default(),
            utc(lease.granted_time.0),
        ]);
    }
    table.text()
}
