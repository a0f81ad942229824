//! `berth container …`: workloads. [`spec`]: the flags that make up a spec. [`change`]: writes. [`row`]: a container with its lease, as `ps` shows it.
//! [`goal`]: what `--wait` waits for.

pub mod change;
pub mod goal;
pub mod row;
pub mod spec;

use berth_state::ids::ContainerId;
use berth_state::noun::container::Container;
use berth_state::noun::lease::Lease;
use clap::Subcommand;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::parse::port;
use crate::wait::WaitArgs;

use super::words::word;
use change::{AddArgs, MoveArgs, UpdateArgs};

#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// All containers, by what they are to be; `berth ps` shows what they are
    Ls,
    /// One container: spec, desired state, lease
    Show { container: String },
    /// Register a container, and run it unless --stopped
    #[command(visible_alias = "run")]
    Add(Box<AddArgs>),
    /// Change the given parts of its spec; a running instance keeps the old one until `berth container restart`
    Update(Box<UpdateArgs>),
    /// Forget a container; refused while it holds a lease
    Rm { container: ContainerId },
    /// Let it run
    Start {
        container: ContainerId,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Stop it, softly
    Stop {
        container: ContainerId,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Stop it and run it again, with its newest spec
    Restart {
        container: ContainerId,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Stop it and run it on another host
    Move(MoveArgs),
}

/// `container show -o json`.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    container: &'a Container,
    lease: Option<&'a Lease>,
}

impl ContainerCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Ls => {
                let registry = cx.client.read().await?;
                cx.out.show(&registry.containers, || table(&registry.containers))
            }
            Self::Show { container } => {
                let registry = cx.client.read().await?;
                cx.out.record(&Detail { container: registry.container(&container)?, lease: registry.lease_of_container(&container) })
            }
            Self::Add(args) => change::add(cx, *args).await,
            Self::Update(args) => change::update(cx, *args).await,
            Self::Rm { container } => change::remove(cx, container).await,
            Self::Start { container, wait } => change::start(cx, container, wait).await,
            Self::Stop { container, wait } => change::stop(cx, container, wait).await,
            Self::Restart { container, wait } => change::restart(cx, container, wait).await,
            Self::Move(args) => change::relocate(cx, args).await,
        }
    }
}

fn table(containers: &[Container]) -> String {
    let mut table = Table::new(&["CONTAINER", "DESIRED", "RUNTIME", "IMAGE", "COMMAND", "VOLUMES", "PORTS", "RESTART", "ENV", "VERSION"]);
    for container in containers {
        let spec = &container.spec;
        let volumes: Vec<String> =
            spec.volumes.iter().map(|m| format!("{}:{}{}", m.volume, m.path, if m.read_only { ":ro" } else { "" })).collect();
        let ports: Vec<String> = spec.ports.iter().map(port::text).collect();
        // Names only: values of the environment are often secrets.
        let names: Vec<&str> = spec.environment.keys().map(String::as_str).collect();
        table.row([
            container.id.to_string(),
            word(&container.desired),
            word(&spec.runtime),
            spec.image.clone(),
            short(&spec.command.join(" ")),
            volumes.join(","),
            ports.join(","),
            word(&spec.restart),
            names.join(","),
            container.version.to_string(),
        ]);
    }
    table.text()
}

/// Long command lines would push the other columns off the screen.
fn short(text: &str) -> String {
    const WIDTH: usize = 40;
    if text.chars().count() <= WIDTH { text.to_owned() } else { text.chars().take(WIDTH - 1).chain(['…']).collect() }
}
