//! `berth host …`: machines that run containers.

use std::collections::BTreeMap;

use berth_state::Order;
use berth_state::command::{AddHost, RemoveHost, SetScheduling, UpdateHost};
use berth_state::ids::{HostId, Version};
use berth_state::noun::host::{Host, HostSpec, Scheduling};
use berth_state::noun::session::Declaration;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::words::{LeaseRef, pairs, word};
use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::parse::{pair, size};
use crate::wait::{Progress, WaitArgs, until};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// All hosts
    Ls,
    /// One host: spec, health, what its executor declares, its leases
    Show { host: String },
    /// Register a host; its executor can do that too (--register)
    Add(AddArgs),
    /// Change the given parts of its spec
    Update(UpdateArgs),
    /// Forget a host; refused while it has leases or a live executor
    Rm { host: HostId },
    /// No new leases; those it has stay
    Cordon { host: HostId },
    /// Let it take containers again, after cordon or drain
    Uncordon { host: HostId },
    /// No new leases, and move away those it has
    Drain {
        host: HostId,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Args)]
pub struct AddArgs {
    host: HostId,
    #[command(flatten)]
    spec: SpecArgs,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    host: HostId,
    #[command(flatten)]
    spec: SpecArgs,
    /// Take a label away
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Empty these before the other flags are applied
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<Clear>,
    /// Only if it still has this version; default: the one just read
    #[arg(long, value_name = "N")]
    version: Option<Version>,
}

#[derive(Debug, Args)]
struct SpecArgs {
    /// Where clients reach the published ports of its containers
    #[arg(long)]
    address: Option<String>,
    /// A label for constraints; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair::parse)]
    label: Vec<(String, String)>,
    /// CPUs it has to give, as in 4 or 0.5
    #[arg(long, value_name = "N", value_parser = size::cpu_millis)]
    cpus: Option<u64>,
    /// Memory it has to give, as in 512m or 2g
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clear {
    Labels,
    Cpus,
    Memory,
}

impl SpecArgs {
    fn apply(self, mut spec: HostSpec) -> HostSpec {
        if let Some(address) = self.address {
            spec.address = address;
        }
        spec.labels.extend(self.label);
        spec.capacity.cpu_millis = self.cpus.or(spec.capacity.cpu_millis);
        spec.capacity.memory_bytes = self.memory.or(spec.capacity.memory_bytes);
        spec
    }
}

impl UpdateArgs {
    fn apply(self, mut spec: HostSpec) -> HostSpec {
        for field in &self.clear {
            match field {
                Clear::Labels => spec.labels = BTreeMap::new(),
                Clear::Cpus => spec.capacity.cpu_millis = None,
                Clear::Memory => spec.capacity.memory_bytes = None,
            }
        }
        for key in &self.label_rm {
            spec.labels.remove(key);
        }
        self.spec.apply(spec)
    }
}

/// `host show -o json`.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    host: &'a Host,
    /// What its executor says it can run and enforce.
    declared: Option<&'a Declaration>,
    leases: Vec<LeaseRef>,
}

impl HostCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Ls => {
                let registry = cx.client.read().await?;
                cx.out.show(&registry.hosts, || table(&registry))
            }
            Self::Show { host } => {
                let registry = cx.client.read().await?;
                let found = registry.host(&host)?;
                let declared = registry.sessions.iter().find(|s| Some(s.id) == found.session).map(|s| &s.declared);
                cx.out.record(&Detail { host: found, declared, leases: registry.leases_of_host(&host).map(LeaseRef::from).collect() })
            }
            Self::Add(args) => {
                let order = Order::AddHost(AddHost { host: args.host.clone(), spec: args.spec.apply(HostSpec::default()) });
                let accepted = cx.client.write(order, Retry::Same).await?;
                cx.done(&accepted, &format!("host {} added", args.host))
            }
            Self::Update(args) => update(cx, args).await,
            Self::Rm { host } => {
                let accepted = cx.client.write(Order::RemoveHost(RemoveHost { host: host.clone() }), Retry::Same).await?;
                cx.done(&accepted, &format!("host {host} removed"))
            }
            Self::Cordon { host } => schedule(cx, &host, Scheduling::Cordoned, "takes no new containers").await,
            Self::Uncordon { host } => schedule(cx, &host, Scheduling::Open, "takes containers").await,
            Self::Drain { host, wait } => {
                schedule(cx, &host, Scheduling::Draining, "is being drained").await?;
                let goal = format!("host {host} to hold no lease");
                until(&mut cx.client, &wait, &goal, |registry| drained(registry, &host)).await
            }
        }
    }
}

async fn update(cx: &mut Context, args: UpdateArgs) -> Result<(), Failure> {
    let registry = cx.client.read_as(false).await?;
    let found = registry.host(args.host.as_str())?;
    let (host, version) = (args.host.clone(), args.version.unwrap_or(found.version));
    let order = Order::UpdateHost(UpdateHost { host: host.clone(), version, spec: args.apply(found.spec.clone()) });
    let accepted = cx.client.write(order, Retry::Version(version)).await?;
    cx.done(&accepted, &format!("host {host} updated"))
}

async fn schedule(cx: &mut Context, host: &HostId, scheduling: Scheduling, what: &str) -> Result<(), Failure> {
    let order = Order::SetScheduling(SetScheduling { host: host.clone(), scheduling });
    let accepted = cx.client.write(order, Retry::Same).await?;
    cx.done(&accepted, &format!("host {host} {what}"))
}

fn drained(registry: &Registry, host: &HostId) -> Result<Progress, Failure> {
    let left: Vec<String> = registry.leases_of_host(host.as_str()).map(|l| format!("{} ({})", l.container, word(&l.phase))).collect();
    Ok(if left.is_empty() { Progress::Reached } else { Progress::Not(format!("it still holds {}", left.join(", "))) })
}

fn table(registry: &Registry) -> String {
    let mut table = Table::new(&["HOST", "HEALTH", "SCHEDULING", "ADDRESS", "LEASES", "CPUS", "MEMORY", "LABELS", "VERSION"]);
    for host in &registry.hosts {
        let capacity = host.spec.capacity;
        table.row([
            host.id.to_string(),
            word(&host.health),
            word(&host.scheduling),
            host.spec.address.clone(),
            registry.leases_of_host(host.id.as_str()).count().to_string(),
            capacity.cpu_millis.map(size::cpu_text).unwrap_or_default(),
            capacity.memory_bytes.map(size::bytes_text).unwrap_or_default(),
            pairs(&host.spec.labels),
            host.version.to_string(),
        ]);
    }
    table.text()
}
