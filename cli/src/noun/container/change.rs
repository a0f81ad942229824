//! Writes about containers: add, update, remove, start, stop, restart, move.

use berth_state::Order;
use berth_state::command::{AddContainer, MoveContainer, RemoveContainer, RestartContainer, SetDesired, UpdateContainer};
use berth_state::ids::{ContainerId, HostId, Token, Version};
use berth_state::noun::container::Desired;
use clap::Args;

use super::goal;
use super::spec::{self, Clear, RuntimeWord, SpecArgs};
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::wait::{WaitArgs, until};

#[derive(Debug, Args)]
pub struct AddArgs {
    container: ContainerId,
    #[command(flatten)]
    spec: SpecArgs,
    /// Register it only; `berth container start` runs it
    #[arg(long, conflicts_with = "wait")]
    stopped: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    container: ContainerId,
    #[command(flatten)]
    spec: SpecArgs,
    /// Take an environment variable away
    #[arg(long, value_name = "KEY")]
    env_rm: Vec<String>,
    /// Empty these before the other flags are applied
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<Clear>,
    /// Only if it still has this version; default: the one just read
    #[arg(long, value_name = "N")]
    version: Option<Version>,
}

#[derive(Debug, Args)]
pub struct MoveArgs {
    container: ContainerId,
    /// To this host; default: any other that fits
    #[arg(long, value_name = "HOST")]
    to: Option<HostId>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn add(cx: &mut Context, args: AddArgs) -> Result<(), Failure> {
    let id = args.container;
    let (image, process) = (args.spec.image.is_some(), matches!(args.spec.runtime, Some(RuntimeWord::Process)));
    if !image && !process {
        return Err(Failure::Usage("what is to run? --image IMAGE, or --runtime process -- COMMAND…".to_owned()));
    }
    if process && args.spec.command.is_empty() {
        return Err(Failure::Usage("the process runtime needs a command: --runtime process -- COMMAND…".to_owned()));
    }
    let desired = if args.stopped { Desired::Stopped } else { Desired::Running };
    let order = Order::AddContainer(AddContainer { container: id.clone(), spec: args.spec.apply(spec::plain())?, desired });
    let accepted = cx.client.write(order, Retry::Same).await?;
    cx.done(&accepted, &format!("container {id} added"))?;
    runs(cx, &args.wait, &id, Token(0)).await
}

pub(super) async fn update(cx: &mut Context, args: UpdateArgs) -> Result<(), Failure> {
    let registry = cx.client.read_as(false).await?;
    let found = registry.container(args.container.as_str())?;
    let version = args.version.unwrap_or(found.version);
    let mut changed = found.spec.clone();
    spec::clear(&mut changed, &args.clear);
    for key in &args.env_rm {
        changed.environment.remove(key);
    }
    let id = args.container;
    let order = Order::UpdateContainer(UpdateContainer { container: id.clone(), version, spec: args.spec.apply(changed)? });
    let accepted = cx.client.write(order, Retry::Version(version)).await?;
    cx.done(&accepted, &format!("container {id} updated; a running instance takes it over with `berth container restart {id}`"))
}

pub(super) async fn remove(cx: &mut Context, id: ContainerId) -> Result<(), Failure> {
    let accepted = cx.client.write(Order::RemoveContainer(RemoveContainer { container: id.clone() }), Retry::Same).await?;
    cx.done(&accepted, &format!("container {id} removed"))
}

pub(super) async fn start(cx: &mut Context, id: ContainerId, wait: WaitArgs) -> Result<(), Failure> {
    let accepted = cx.client.write(Order::SetDesired(SetDesired { container: id.clone(), desired: Desired::Running }), Retry::Same).await?;
    cx.done(&accepted, &format!("container {id} is to run"))?;
    runs(cx, &wait, &id, Token(0)).await
}

pub(super) async fn stop(cx: &mut Context, id: ContainerId, wait: WaitArgs) -> Result<(), Failure> {
    let accepted = cx.client.write(Order::SetDesired(SetDesired { container: id.clone(), desired: Desired::Stopped }), Retry::Same).await?;
    cx.done(&accepted, &format!("container {id} is to stop"))?;
    let goal = format!("container {id} to hold no lease");
    until(&mut cx.client, &wait, &goal, |registry| goal::stopped(registry, &id)).await
}

pub(super) async fn restart(cx: &mut Context, id: ContainerId, wait: WaitArgs) -> Result<(), Failure> {
    let before = newest_token(cx, &wait, &id).await?;
    let accepted = cx.client.write(Order::RestartContainer(RestartContainer { container: id.clone() }), Retry::Same).await?;
    cx.done(&accepted, &format!("container {id} is being restarted"))?;
    runs(cx, &wait, &id, before).await
}

pub(super) async fn relocate(cx: &mut Context, args: MoveArgs) -> Result<(), Failure> {
    let id = args.container;
    let before = newest_token(cx, &args.wait, &id).await?;
    let order = Order::MoveContainer(MoveContainer { container: id.clone(), to: args.to.clone() });
    let accepted = cx.client.write(order, Retry::Same).await?;
    let place = args.to.map_or_else(|| "another host".to_owned(), |host| format!("host {host}"));
    cx.done(&accepted, &format!("container {id} is being moved to {place}"))?;
    runs(cx, &args.wait, &id, before).await
}

/// What the new instance's token must exceed; asked before the write, and only when somebody waits for it.
async fn newest_token(cx: &mut Context, wait: &WaitArgs, id: &ContainerId) -> Result<Token, Failure> {
    if !wait.wait {
        return Ok(Token(0));
    }
    let registry = cx.client.read_as(false).await?;
    Ok(registry.newest_token(id.as_str()))
}

async fn runs(cx: &mut Context, wait: &WaitArgs, id: &ContainerId, above: Token) -> Result<(), Failure> {
    let goal = format!("container {id} to run");
    until(&mut cx.client, wait, &goal, |registry| goal::running(registry, id, above)).await
}
