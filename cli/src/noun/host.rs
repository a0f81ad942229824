//! `berth host …`: machines that run containers.

use std::collections::BTreeMap;

use berth_state::Order;
use berth_state::command::{AddHost, RemoveHost, SetScheduling, UnfenceHost, UpdateHost};
use berth_state::ids::{HostId, Version};
use berth_state::noun::host::{FenceAgent, Host, HostSpec, Scheduling};
use berth_state::noun::secrets::{HIDDEN, Secrets};
use berth_state::noun::session::Declaration;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::words::{LeaseRef, pairs, word};
use crate::client::actor;
use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::parse::agent::{self, Source};
use crate::parse::{pair, size};
use crate::wait::{Progress, WaitArgs, until};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// All hosts
    Ls,
    /// One host: spec, health, what its executor declares, its leases
    Show { host: String },
    /// Register a host; its executor can do that too (--register)
    Add(Box<AddArgs>),
    /// Change the given parts of its spec
    Update(Box<UpdateArgs>),
    /// Forget a host; refused while it has leases or a live executor
    Rm { host: HostId },
    /// No new leases; those it has stay
    Cordon { host: HostId },
    /// Let it take containers again, after cordon or drain
    Uncordon { host: HostId },
    /// State that nothing of the fenced holders runs there any more, so that it may get leases again. If something does, two may write: make sure first
    Unfence {
        host: HostId,
        /// How you know; kept in the log with your name
        #[arg(long)]
        reason: String,
    },
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
    /// The address by which storage servers know it, for storage fencing [default: --address]
    #[arg(long, value_name = "ADDRESS")]
    storage_address: Option<String>,
    /// A power fence agent that control nodes run; may be repeated, and is tried in this order; replaces those there were. "AGENT KEY=VALUE …"; a
    /// secret as NAME@file=PATH, NAME@env=VARIABLE, or NAME@kept (as it was); NAME@secret=VALUE stays in your shell's history; @timeout=30s
    #[arg(long, value_name = "AGENT")]
    fence_agent: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clear {
    Labels,
    Cpus,
    Memory,
    StorageAddress,
    FenceAgents,
}

impl SpecArgs {
    fn apply(self, mut spec: HostSpec) -> Result<HostSpec, Failure> {
        if let Some(address) = self.address {
            spec.address = address;
        }
        spec.labels.extend(self.label);
        spec.capacity.cpu_millis = self.cpus.or(spec.capacity.cpu_millis);
        spec.capacity.memory_bytes = self.memory.or(spec.capacity.memory_bytes);
        spec.storage_address = self.storage_address.unwrap_or(spec.storage_address);
        if !self.fence_agent.is_empty() {
            spec.fence_agents = self.fence_agent.iter().map(|text| fence_agent(text)).collect::<Result<_, _>>()?;
        }
        Ok(spec)
    }
}

/// Not a value parser of clap's: its errors repeat what was given, and that may hold a secret.
fn fence_agent(text: &str) -> Result<FenceAgent, Failure> {
    let parsed = agent::parse(text).map_err(|e| Failure::Usage(format!("--fence-agent {e}")))?;
    let secret = |(name, source): (String, Source)| Ok((name, value(source)?));
    let secrets = parsed.secrets.into_iter().map(secret).collect::<Result<_, Failure>>()?;
    Ok(FenceAgent { agent: parsed.agent, options: parsed.options, secrets: Secrets(secrets), timeout_ms: parsed.timeout_ms })
}

fn value(source: Source) -> Result<String, Failure> {
    match source {
        Source::Given(value) => Ok(value),
        Source::Kept => Ok(HIDDEN.to_owned()),
        Source::File(path) => {
            let content = std::fs::read_to_string(&path).map_err(|source| Failure::File { path, source })?;
            Ok(content.trim_end_matches(['\n', '\r']).to_owned())
        }
        Source::Environment(name) => {
            std::env::var(&name).map_err(|_| Failure::Usage(format!("--fence-agent: the environment has no variable {name}")))
        }
    }
}

impl UpdateArgs {
    fn apply(self, mut spec: HostSpec) -> Result<HostSpec, Failure> {
        for field in &self.clear {
            match field {
                Clear::Labels => spec.labels = BTreeMap::new(),
                Clear::Cpus => spec.capacity.cpu_millis = None,
                Clear::Memory => spec.capacity.memory_bytes = None,
                Clear::StorageAddress => spec.storage_address = String::new(),
                Clear::FenceAgents => spec.fence_agents = Vec::new(),
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
                let order = Order::AddHost(AddHost { host: args.host.clone(), spec: args.spec.apply(HostSpec::default())? });
                let accepted = cx.client.write(order, Retry::Same).await?;
                cx.done(&accepted, &format!("host {} added", args.host))
            }
            Self::Update(args) => update(cx, *args).await,
            Self::Rm { host } => {
                let accepted = cx.client.write(Order::RemoveHost(RemoveHost { host: host.clone() }), Retry::Same).await?;
                cx.done(&accepted, &format!("host {host} removed"))
            }
            Self::Cordon { host } => schedule(cx, &host, Scheduling::Cordoned, "takes no new containers").await,
            Self::Uncordon { host } => schedule(cx, &host, Scheduling::Open, "takes containers").await,
            Self::Unfence { host, reason } => unfence(cx, host, reason).await,
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
    let order = Order::UpdateHost(UpdateHost { host: host.clone(), version, spec: args.apply(found.spec.clone())? });
    let accepted = cx.client.write(order, Retry::Version(version)).await?;
    cx.done(&accepted, &format!("host {host} updated"))
}

async fn unfence(cx: &mut Context, host: HostId, reason: String) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Usage("--reason: say how you know that nothing of it runs there any more".to_owned()));
    }
    let order = Order::UnfenceHost(UnfenceHost { host: host.clone(), name: actor::name(), reason });
    let accepted = cx.client.write(order, Retry::Same).await?;
    cx.done(&accepted, &format!("host {host} may get leases again, on your word"))
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
    let headings =
        ["HOST", "HEALTH", "SCHEDULING", "ADDRESS", "LEASES", "FENCED", "ATTEMPT", "FENCE AGENTS", "CPUS", "MEMORY", "LABELS", "VERSION"];
    let mut table = Table::new(&headings);
    for host in &registry.hosts {
        let capacity = host.spec.capacity;
        let fenced: Vec<String> = host.fenced.iter().map(|holder| holder.token.to_string()).collect();
        let agents: Vec<&str> = host.spec.fence_agents.iter().map(|agent| agent.agent.as_str()).collect();
        table.row([
            host.id.to_string(),
            word(&host.health),
            word(&host.scheduling),
            host.spec.address.clone(),
            registry.leases_of_host(host.id.as_str()).count().to_string(),
            fenced.join(","),
            host.attempt.as_ref().map(|attempt| format!("{} ({})", attempt.id, attempt.agent)).unwrap_or_default(),
            agents.join(","),
            capacity.cpu_millis.map(size::cpu_text).unwrap_or_default(),
            capacity.memory_bytes.map(size::bytes_text).unwrap_or_default(),
            pairs(&host.spec.labels),
            host.version.to_string(),
        ]);
    }
    table.text()
}
