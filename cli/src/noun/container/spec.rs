//! The flags that make up a container's spec, shared by `add` and `update`: each given one changes its part of a spec, the others leave theirs.

use std::path::PathBuf;

use berth_state::ids::ContainerId;
use berth_state::noun::container::{Constraint, ContainerSpec, HealthCheck, Hook, Port, RestartPolicy, RuntimeKind, VolumeMount};
use berth_state::noun::host::Capacity;
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::parse::{constraint, duration, health, mount, pair, port, restart, size};

#[derive(Debug, Default, Args)]
pub struct SpecArgs {
    /// The image to run with Docker
    #[arg(long)]
    pub image: Option<String>,
    /// docker, or process: the command as a process tree of the host [default: docker]
    #[arg(long)]
    pub runtime: Option<RuntimeWord>,
    /// A volume and where it is mounted; may be repeated
    #[arg(long, value_name = "VOLUME:/PATH[:ro]", value_parser = mount::parse)]
    pub volume: Vec<VolumeMount>,
    /// A port to publish on the host; may be repeated
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER[/udp]", value_parser = port::parse)]
    pub publish: Vec<Port>,
    /// An environment variable; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair::parse)]
    pub env: Vec<(String, String)>,
    /// Environment variables from a file, KEY=VALUE a line; --env wins
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// CPUs it may use, and that are kept free for it
    #[arg(long, value_name = "N", value_parser = size::cpu_millis)]
    pub cpus: Option<u64>,
    /// Memory it may use, and that is kept free for it
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub memory: Option<u64>,
    #[command(flatten)]
    pub health: HealthArgs,
    /// always, never, on-failure or on-failure:N: what happens when it ends by itself [default: always]
    #[arg(long, value_name = "POLICY", value_parser = restart::parse)]
    pub restart: Option<RestartPolicy>,
    /// Only on hosts with this label; the key host is the host's name; may be repeated
    #[arg(long, value_name = "KEY==VALUE|KEY!=VALUE", value_parser = constraint::parse)]
    pub constraint: Vec<Constraint>,
    /// Never on the host of this container; may be repeated
    #[arg(long, value_name = "CONTAINER")]
    pub anti_affinity: Vec<ContainerId>,
    /// What asks it to stop, as in SIGINT [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Between the stop signal and the kill [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub stop_grace: Option<u64>,
    #[command(flatten)]
    pub entry: EntryArgs,
    /// Let it reach all devices and undo all limits of its host, the guard included; refused over an after-expiry volume
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub privileged: Option<bool>,
    /// Insist on --privileged over an after-expiry volume; it is logged, and `berth why` says so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub privileged_insist: Option<bool>,
    /// Docker's; refused
    #[arg(long, value_name = "MODE", hide = true)]
    pub pid: Option<String>,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub struct HealthArgs {
    /// Run inside it; exit code 0 is healthy. A shell line, or a JSON list of words
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub health_interval: Option<u64>,
    /// [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub health_timeout: Option<u64>,
    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "N")]
    pub health_retries: Option<u32>,
    /// Failures do not count so long after the start [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub health_start_period: Option<u64>,
}

/// What runs inside the instance before its command. The volume's state is in `BERTH_VOLUME_STATE_<NAME>` (new or used).
#[derive(Debug, Default, Args)]
pub struct EntryArgs {
    /// Run before the command when a volume is new; must succeed. A shell line, or a JSON list of words
    #[arg(long, value_name = "COMMAND")]
    pub init_hook: Option<String>,
    /// [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub init_timeout: Option<u64>,
    /// Run before the command otherwise; must succeed. A shell line, or a JSON list of words
    #[arg(long, value_name = "COMMAND")]
    pub pre_start_hook: Option<String>,
    /// [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub pre_start_timeout: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RuntimeWord {
    Docker,
    Process,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Clear {
    Volumes,
    Publish,
    Env,
    Cpus,
    Memory,
    Health,
    Constraints,
    AntiAffinity,
    StopSignal,
    Command,
    InitHook,
    PreStartHook,
}

/// A spec before any flag.
#[must_use]
pub fn plain() -> ContainerSpec {
    ContainerSpec {
        runtime: RuntimeKind::Docker,
        image: String::new(),
        command: Vec::new(),
        environment: std::collections::BTreeMap::new(),
        volumes: Vec::new(),
        ports: Vec::new(),
        limits: Capacity::default(),
        health_check: None,
        restart: RestartPolicy::Always,
        constraints: Vec::new(),
        anti_affinity: Vec::new(),
        stop_signal: None,
        stop_grace_ms: ContainerSpec::DEFAULT_STOP_GRACE_MS,
        init: None,
        pre_start: None,
        privileged: false,
        privileged_insisted: false,
    }
}

/// Empties parts of a spec.
pub fn clear(spec: &mut ContainerSpec, fields: &[Clear]) {
    for field in fields {
        match field {
            Clear::Volumes => spec.volumes.clear(),
            Clear::Publish => spec.ports.clear(),
            Clear::Env => spec.environment.clear(),
            Clear::Cpus => spec.limits.cpu_millis = None,
            Clear::Memory => spec.limits.memory_bytes = None,
            Clear::Health => spec.health_check = None,
            Clear::Constraints => spec.constraints.clear(),
            Clear::AntiAffinity => spec.anti_affinity.clear(),
            Clear::StopSignal => spec.stop_signal = None,
            Clear::Command => spec.command.clear(),
            Clear::InitHook => spec.init = None,
            Clear::PreStartHook => spec.pre_start = None,
        }
    }
}

impl SpecArgs {
    /// The spec with the given flags applied. Variables are added to those there are; of other lists, a given one replaces the whole.
    ///
    /// # Errors
    /// [`Failure::Usage`], or an env file that cannot be read.
    pub fn apply(self, mut spec: ContainerSpec) -> Result<ContainerSpec, Failure> {
        if let Some(mode) = &self.pid {
            return Err(Failure::Usage(pid_refused(mode)));
        }
        if let Some(runtime) = self.runtime {
            spec.runtime = match runtime {
                RuntimeWord::Docker => RuntimeKind::Docker,
                RuntimeWord::Process => RuntimeKind::Process,
            };
        }
        spec.image = self.image.unwrap_or(spec.image);
        replace(&mut spec.command, self.command);
        for path in self.env_file {
            let content = std::fs::read_to_string(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
            spec.environment.extend(pair::file(&content).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?);
        }
        spec.environment.extend(self.env);
        replace(&mut spec.volumes, self.volume);
        replace(&mut spec.ports, self.publish);
        spec.limits.cpu_millis = self.cpus.or(spec.limits.cpu_millis);
        spec.limits.memory_bytes = self.memory.or(spec.limits.memory_bytes);
        spec.health_check = self.health.apply(spec.health_check)?;
        spec.restart = self.restart.unwrap_or(spec.restart);
        replace(&mut spec.constraints, self.constraint);
        replace(&mut spec.anti_affinity, self.anti_affinity);
        spec.stop_signal = self.stop_signal.or(spec.stop_signal);
        spec.stop_grace_ms = self.stop_grace.unwrap_or(spec.stop_grace_ms);
        let EntryArgs { init_hook, init_timeout, pre_start_hook, pre_start_timeout } = self.entry;
        spec.init = hook("init", spec.init, init_hook, init_timeout, 600_000)?;
        spec.pre_start = hook("pre-start", spec.pre_start, pre_start_hook, pre_start_timeout, 60_000)?;
        spec.privileged = self.privileged.unwrap_or(spec.privileged);
        spec.privileged_insisted = self.privileged_insist.unwrap_or(spec.privileged_insisted);
        Ok(spec)
    }
}

fn pid_refused(mode: &str) -> String {
    format!(
        "--pid {mode} is refused: each instance has a pid namespace of its own, whose PID 1 is the guard that ends all of it at the lease's deadline; \
         processes in another namespace would outlive that and write on. To look inside, use `docker exec`, or `berth logs`"
    )
}

/// A hook with what was given changed.
fn hook(name: &str, now: Option<Hook>, command: Option<String>, timeout_ms: Option<u64>, default_ms: u64) -> Result<Option<Hook>, Failure> {
    let command = command.as_deref().map(health::command).transpose().map_err(|e| Failure::Usage(format!("--{name}-hook {e}")))?;
    match (now, command) {
        (Some(now), command) => {
            Ok(Some(Hook { command: command.unwrap_or(now.command), timeout_ms: timeout_ms.unwrap_or(now.timeout_ms) }))
        }
        (None, Some(command)) => Ok(Some(Hook { command, timeout_ms: timeout_ms.unwrap_or(default_ms) })),
        (None, None) if timeout_ms.is_some() => Err(Failure::Usage(format!("there is no {name} hook to tune: give --{name}-hook as well"))),
        (None, None) => Ok(None),
    }
}

impl HealthArgs {
    fn apply(self, check: Option<HealthCheck>) -> Result<Option<HealthCheck>, Failure> {
        let command =
            self.health_cmd.as_deref().map(health::command).transpose().map_err(|e| Failure::Usage(format!("--health-cmd {e}")))?;
        let tuned = self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_retries.is_some()
            || self.health_start_period.is_some();
        let mut check = match (check, command) {
            (Some(check), None) => check,
            (Some(check), Some(command)) => HealthCheck { command, ..check },
            (None, Some(command)) => HealthCheck { command, interval_ms: 10_000, timeout_ms: 5_000, retries: 3, start_period_ms: 0 },
            (None, None) if tuned => return Err(Failure::Usage("there is no health check to tune: give --health-cmd as well".to_owned())),
            (None, None) => return Ok(None),
        };
        check.interval_ms = self.health_interval.unwrap_or(check.interval_ms);
        check.timeout_ms = self.health_timeout.unwrap_or(check.timeout_ms);
        check.retries = self.health_retries.unwrap_or(check.retries);
        check.start_period_ms = self.health_start_period.unwrap_or(check.start_period_ms);
        Ok(Some(check))
    }
}

fn replace<T>(list: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *list = given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_given_flags_change_a_spec() {
        let mut spec = plain();
        spec.image = "a".to_owned();
        spec.environment.insert("A".to_owned(), "1".to_owned());
        spec.limits.cpu_millis = Some(500);
        let args = SpecArgs { env: vec![("B".to_owned(), "2".to_owned())], memory: Some(1), ..SpecArgs::default() };
        let changed = args.apply(spec.clone()).unwrap();
        spec.environment.insert("B".to_owned(), "2".to_owned());
        spec.limits.memory_bytes = Some(1);
        assert_eq!(changed, spec);
    }

    #[test]
    fn a_health_check_is_tuned_without_its_command_only_when_there_is_one() {
        let tune = || HealthArgs { health_retries: Some(9), ..HealthArgs::default() };
        assert!(matches!(tune().apply(None), Err(Failure::Usage(_))));
        let check = HealthArgs { health_cmd: Some("x".to_owned()), ..HealthArgs::default() }.apply(None).unwrap();
        let tuned = tune().apply(check.clone()).unwrap();
        assert_eq!(tuned, check.map(|c| HealthCheck { retries: 9, ..c }));
    }

    #[test]
    fn clear_empties_what_it_names() {
        let args = SpecArgs { cpus: Some(5), env: vec![("A".to_owned(), "b".to_owned())], ..SpecArgs::default() };
        let mut spec = args.apply(plain()).unwrap();
        clear(&mut spec, &[Clear::Env, Clear::Cpus]);
        assert_eq!(spec, plain());
    }
}
