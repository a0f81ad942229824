//! `berth executor`: runs a host's executor until SIGTERM or SIGINT; and the hidden subcommand that the process runtime starts. Parses and checks its flags;
//! what runs is `berth_executor`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use berth_executor::external::ExternalConfig;
use berth_executor::hostguard::{HOST_GUARD_COMMAND, WatchdogConfig, host_guard_main};
use berth_executor::pages::default_run_folder;
use berth_executor::runtime::process::{SHIM_COMMAND, shim_main};
use berth_executor::{DEFAULT_MARGIN_MS, Deps, Executor, ExecutorConfig};
use berth_state::ids::HostId;
use berth_state::noun::host::{Capacity, HostSpec};
use clap::ValueEnum;

use crate::daemon::stop_on_signal;
use crate::parse::{duration, pair, size};

/// Where Docker looks for its plugins' sockets.
const DOCKER_PLUGINS: &str = "/run/docker/plugins";
/// Where Docker listens when nothing else is said.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Run a host's executor
#[derive(Debug, clap::Args)]
pub struct ExecutorArgs {
    /// This host's name; the same for as long as its ledger lives
    #[arg(long, env = "BERTH_HOST_NAME")]
    host: HostId,
    /// Folder of the ledger, on a disk of this host; belongs to this executor alone
    #[arg(long, env = "BERTH_DATA_DIR")]
    data_dir: PathBuf,
    /// Folder for what must not outlive a boot, such as mount points; on a tmpfs [default: /run/berth/HOST; not as root: DATA_DIR/run]
    #[arg(long, value_name = "DIR", env = "BERTH_RUN_DIR")]
    run: Option<PathBuf>,
    /// What it can run; may be repeated [default: docker]
    #[arg(long, value_delimiter = ',')]
    runtime: Vec<RuntimeWord>,
    /// Socket of the Docker engine [default: /var/run/docker.sock]
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<PathBuf>,
    /// Folder of the process runtime [default: processes in the data folder]
    #[arg(long, value_name = "DIR")]
    process_root: Option<PathBuf>,
    /// Taken off every deadline, for what killing and polling may take
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    margin: Option<u64>,
    /// Hardware watchdog that resets the host when the host guard is stuck or an instance does not die, e.g. /dev/watchdog0
    #[arg(long, value_name = "DEVICE", conflicts_with = "no_host_guard")]
    watchdog: Option<PathBuf>,
    /// Its timeout, whole seconds; at most half of the leases' ttl [default: 5]
    #[arg(long, value_name = "SECONDS", requires = "watchdog", value_parser = clap::value_parser!(u32).range(1..))]
    watchdog_timeout: Option<u32>,
    /// Do without the host guard, the process that enforces deadlines when this one is dead or stopped
    #[arg(long)]
    no_host_guard: bool,
    /// Serve the Docker volume plugin `berth`, in this folder [default if no folder is given: /run/docker/plugins]
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = DOCKER_PLUGINS, env = "BERTH_DOCKER_PLUGIN")]
    docker_plugin: Option<PathBuf>,
    /// Also serve the authorization plugin `berth-authz`, which refuses bind mounts of volumes' data (dockerd --authorization-plugin=berth-authz)
    #[arg(long, requires = "docker_plugin")]
    docker_authz: bool,
    /// Add the host to the cluster if it is not registered yet, with the spec that the next flags give
    #[arg(long)]
    register: bool,
    /// Where clients reach the published ports of its containers
    #[arg(long, requires = "register")]
    address: Option<String>,
    /// A label for constraints; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair::parse, requires = "register")]
    label: Vec<(String, String)>,
    /// CPUs it has to give
    #[arg(long, value_name = "N", value_parser = size::cpu_millis, requires = "register")]
    cpus: Option<u64>,
    /// Memory it has to give
    #[arg(long, value_name = "SIZE", value_parser = size::bytes, requires = "register")]
    memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RuntimeWord {
    Docker,
    Process,
}

impl ExecutorArgs {
    fn config(self, endpoints: Vec<String>) -> ExecutorConfig {
        let has = |runtime| self.runtime.contains(&runtime);
        let docker = has(RuntimeWord::Docker) || self.docker_socket.is_some() || (self.runtime.is_empty() && self.process_root.is_none());
        let process = has(RuntimeWord::Process) || self.process_root.is_some();
        let capacity = Capacity { cpu_millis: self.cpus, memory_bytes: self.memory };
        let (address, labels) = (self.address.unwrap_or_default(), self.label.into_iter().collect());
        let spec = HostSpec { address, labels, capacity, ..HostSpec::default() };
        let run = default_run_folder(&self.host, &self.data_dir);
        ExecutorConfig {
            host: self.host,
            endpoints,
            docker_socket: docker.then(|| self.docker_socket.unwrap_or_else(|| DOCKER_SOCKET.into())),
            process_root: process.then(|| self.process_root.unwrap_or_else(|| self.data_dir.join("processes"))),
            data: self.data_dir,
            run: self.run.unwrap_or(run),
            berth_binary: None,
            register: self.register.then_some(spec),
            margin_ms: self.margin.unwrap_or(DEFAULT_MARGIN_MS),
            host_guard: !self.no_host_guard,
            watchdog: self.watchdog.map(|device| WatchdogConfig { device, timeout_s: self.watchdog_timeout }),
            external: ExternalConfig { local: true, docker_plugins: self.docker_plugin, docker_authz: self.docker_authz },
        }
    }
}

/// The end of a hidden subcommand, if `args` (without the program) are one. Starts no thread.
pub fn hidden(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter();
    let word = args.next()?;
    if word == SHIM_COMMAND {
        Some(shim_main(args))
    } else if word == crate::noun::lease_run::CHILD_COMMAND {
        Some(crate::noun::lease_run::child_main(args))
    } else if word == HOST_GUARD_COMMAND {
        Some(host_guard_main(args))
    } else {
        None
    }
}

/// Runs until a signal asks it to stop; what runs under leases runs on.
///
/// # Errors
/// A ledger of another executor or that cannot be written, an unusable clock, a bad endpoint; the text says what to do.
pub async fn run(args: ExecutorArgs, endpoints: Vec<String>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data_dir).with_context(|| format!("cannot create the data folder {}", args.data_dir.display()))?;
    let config = args.config(endpoints);
    let deps = Deps::system(&config)?;
    let (executor, _handle) = Executor::new(config, deps)?;
    executor.run(stop_on_signal()?).await?;
    Ok(())
}
