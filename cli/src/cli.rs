//! The command line as a whole: parses, resolves the configuration, runs one command, turns its end into text and exit code. Called by `main`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, GlobalArgs};
use crate::context::Context;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::noun::container::ContainerCommand;
use crate::noun::event::{EventCommand, EventsArgs};
use crate::noun::fence::FenceCommand;
use crate::noun::host::HostCommand;
use crate::noun::lease::LeaseCommand;
use crate::noun::node::NodeCommand;
use crate::noun::volume::VolumeCommand;
use crate::output::say;
use crate::proof::command::ProofArgs;
use crate::view::logs::LogsArgs;
use crate::view::settings::SettingsCommand;
use crate::view::why::WhyArgs;
use crate::view::{ps, status};

/// Runs databases in containers on several hosts, and never lets two of them write one volume
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    after_help = "Exit codes: `berth help exit-codes`. Settings: flags over environment over configuration file."
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Containers, and where they run
    Ps,
    /// The cluster at a glance; works without a quorum
    Status,
    /// What a container writes
    Logs(LogsArgs),
    /// What happened, oldest first
    Events(EventsArgs),
    /// Why a volume or container is where it is, or is not
    Why(WhyArgs),
    Proof(ProofArgs),
    /// Machines that run containers
    #[command(subcommand)]
    Host(HostCommand),
    /// Units of data with at most one writer
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Workloads
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Rights of hosts to run containers
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// What proves that a former holder writes no more
    #[command(subcommand)]
    Fence(FenceCommand),
    /// Single events
    #[command(subcommand)]
    Event(EventCommand),
    /// Control nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Settings of the whole cluster
    #[command(subcommand)]
    Settings(SettingsCommand),
    #[cfg(feature = "server")]
    Server(Box<crate::daemon::server::ServerArgs>),
    #[cfg(feature = "executor")]
    Executor(Box<crate::daemon::executor::ExecutorArgs>),
    #[cfg(all(feature = "server", feature = "executor"))]
    Demo(crate::demo::DemoArgs),
    /// The demo's writer
    #[cfg(all(feature = "server", feature = "executor"))]
    #[command(hide = true)]
    Witness(crate::demo::witness::WitnessArgs),
    /// What the exit codes mean
    #[command(long_about = TABLE)]
    ExitCodes,
}

/// Everything after the hidden subcommands.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // That nobody reads it is no failure.
            let _ = error.print();
            // Help and version that were asked for go to standard output.
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    match cli.command {
        #[cfg(feature = "server")]
        Command::Server(args) => crate::daemon::run(crate::daemon::server::run(*args)),
        #[cfg(feature = "executor")]
        Command::Executor(args) => executor(&cli.global, *args),
        #[cfg(all(feature = "server", feature = "executor"))]
        Command::Demo(args) => demo(&cli.global, &args),
        #[cfg(all(feature = "server", feature = "executor"))]
        Command::Witness(args) => crate::daemon::end(crate::demo::witness::run(&args)),
        #[cfg(feature = "executor")]
        Command::Lease(LeaseCommand::Run(args)) => crate::noun::lease_run::main(*args),
        command => client(&cli.global, command),
    }
}

#[cfg(feature = "executor")]
fn executor(global: &GlobalArgs, args: crate::daemon::executor::ExecutorArgs) -> ExitCode {
    match Config::resolve(global) {
        Ok(config) => crate::daemon::run(crate::daemon::executor::run(args, config.endpoints)),
        Err(failure) => ended(&failure),
    }
}

/// 0: everything was as it should be.
#[cfg(all(feature = "server", feature = "executor"))]
fn demo(global: &GlobalArgs, args: &crate::demo::DemoArgs) -> ExitCode {
    let format = match Config::resolve(global) {
        Ok(config) => config.format,
        Err(failure) => return ended(&failure),
    };
    crate::daemon::run_unlogged(async {
        let good = crate::demo::run(args, format).await?;
        anyhow::ensure!(good, "the demo found something wrong: its result says what");
        Ok(())
    })
}

fn client(global: &GlobalArgs, command: Command) -> ExitCode {
    let result = Config::resolve(global).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Output)?;
        runtime.block_on(run(command, &mut Context::new(&config)))
    });
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => ended(&failure),
    }
}

fn ended(failure: &Failure) -> ExitCode {
    let exit = failure.exit();
    if exit != Exit::Ok {
        say(&format!("berth: {}", text(failure)));
    }
    exit.into()
}

async fn run(command: Command, cx: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Ps => ps::run(cx).await,
        Command::Status => status::run(cx).await,
        Command::Logs(args) => args.run(cx).await,
        Command::Events(args) => args.run(cx).await,
        Command::Why(args) => args.run(cx).await,
        Command::Proof(args) => args.run(cx).await,
        Command::Host(command) => command.run(cx).await,
        Command::Volume(command) => command.run(cx).await,
        Command::Container(command) => command.run(cx).await,
        Command::Lease(command) => command.run(cx).await,
        Command::Fence(command) => command.run(cx).await,
        Command::Event(command) => command.run(cx).await,
        Command::Node(command) => command.run(cx).await,
        Command::Settings(command) => command.run(cx).await,
        Command::ExitCodes => cx.out.print(&format!("{TABLE}\n")),
        #[cfg(feature = "server")]
        Command::Server(_) => Err(Failure::Usage("`berth server` is no client command".to_owned())),
        #[cfg(feature = "executor")]
        Command::Executor(_) => Err(Failure::Usage("`berth executor` is no client command".to_owned())),
        #[cfg(all(feature = "server", feature = "executor"))]
        Command::Demo(_) | Command::Witness(_) => Err(Failure::Usage("this is no client command".to_owned())),
    }
}

/// The failure and its causes.
fn text(failure: &Failure) -> String {
    let mut out = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(inner) = cause {
        out.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    out
}
