//! Creating a container. Called by the reconciler through [`super::DockerRuntime`]. It must never start anything, never let the
//! engine create a mount's source, and never give the engine a reason to restart a container by itself.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, PortBinding, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::DockerRuntime;
use super::call_error::CallError;
use super::engine::CALL_LIMIT;
use super::guard::{self, ImageCommand};
use super::labels::{container_name, labels_of};
use crate::runtime::spec::{MountSpec, PortSpec};
use crate::runtime::{InstanceSpec, RuntimeError, guarded};

/// The engine counts CPUs in billionths, we in thousandths.
const NANOS_PER_MILLI: u64 = 1_000_000;

impl DockerRuntime {
    pub(super) async fn create_instance(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let name = container_name(&spec.key)?;
        if spec.cluster != self.owner.cluster || spec.host != self.owner.host {
            let reason = format!("it belongs to host {} of cluster {}, this is {}", spec.host, spec.cluster, self.owner.host);
            return Err(RuntimeError::Refused { instance: name, reason });
        }
        guarded::check(spec)?;
        let image = self.image_command(spec, &name).await?;
        let body = create_body(spec, &image)?;
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let call = self.engine.call(CALL_LIMIT, |docker| async move { docker.create_container(Some(options), body).await });
        let Err(error) = call.await else { return Ok(()) };
        if error.status() == Some(409) {
            return self.already_created(spec, name).await;
        }
        Err(refusal(spec, name, error))
    }

    /// The name is taken: fine if it is this very instance from an earlier try.
    async fn already_created(&self, spec: &InstanceSpec, name: String) -> Result<(), RuntimeError> {
        let found = self.find(&spec.key, CALL_LIMIT).await?;
        if found.is_some_and(|found| found.lease == spec.lease) {
            return Ok(());
        }
        let reason = "a container of this name exists and is not this instance: look at it, then remove it (docker rm)".to_owned();
        Err(RuntimeError::Refused { instance: name, reason })
    }
}

/// What the engine's refusal means to the caller.
fn refusal(spec: &InstanceSpec, name: String, error: CallError) -> RuntimeError {
    match error {
        CallError::Status { code: 404, message } if message.to_ascii_lowercase().contains("no such image") => {
            RuntimeError::ImageMissing { image: spec.image.clone() }
        }
        // Not the specification's fault: the volume is not there (yet).
        CallError::Status { code: 400, message } if message.contains("bind source path does not exist") => {
            RuntimeError::Refused { instance: name, reason: format!("a mount's source is missing on this host: {message}") }
        }
        CallError::Status { code: 400, message } => RuntimeError::InvalidSpec { what: "docker create", reason: message },
        error @ (CallError::NotReachable { .. } | CallError::TimedOut { .. } | CallError::Status { .. } | CallError::Broken { .. }) => {
            error.into_runtime("create", &name)
        }
    }
}

fn create_body(spec: &InstanceSpec, image: &ImageCommand) -> Result<ContainerCreateBody, RuntimeError> {
    let ports = spec.ports.iter().map(port_name).collect::<Result<Vec<_>, _>>()?;
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        // With an entry point of its own a container takes neither that of the image nor the image's command: both are in these words.
        entrypoint: Some(guard::entrypoint(spec, image)?),
        env: Some(environment(spec)?),
        labels: Some(labels_of(spec)),
        stop_signal: spec.stop_signal.clone(),
        exposed_ports: (!ports.is_empty()).then_some(ports),
        host_config: Some(host_config(spec)?),
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &InstanceSpec) -> Result<HostConfig, RuntimeError> {
    let memory = spec.memory_bytes.map(|bytes| limit("memory limit", bytes)).transpose()?;
    let nanos = |millis: u64| limit("CPU limit", millis.saturating_mul(NANOS_PER_MILLI));
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.ports {
        let binding = PortBinding { host_ip: Some(port.host_address.clone()), host_port: Some(port.host_port.to_string()) };
        bindings.entry(port_name(port)?).or_default().get_or_insert_default().push(binding);
    }
    Ok(HostConfig {
        nano_cpus: spec.cpu_millis.map(nanos).transpose()?,
        memory,
        // Equal: no swap on top, so that the limit is the limit on every host.
        memory_swap: memory,
        mounts: Some(spec.mounts.iter().chain(&guard::mounts(&spec.guard)).map(bind_mount).collect::<Result<_, _>>()?),
        port_bindings: (!bindings.is_empty()).then_some(bindings),
        // A container that the engine restarts would run without anyone having looked at its lease.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        privileged: Some(spec.privileged),
        ..HostConfig::default()
    })
}

/// Through the engine's `Mounts`, not `Binds`: the latter creates a missing source, and an empty folder is not the volume.
fn bind_mount(mount: &MountSpec) -> Result<Mount, RuntimeError> {
    let text = |path: &std::path::Path| match path.to_str() {
        Some(text) if path.is_absolute() => Ok(text.to_owned()),
        _ => Err(RuntimeError::InvalidSpec { what: "mount", reason: format!("{} must be an absolute path in UTF-8", path.display()) }),
    };
    Ok(Mount {
        typ: Some(MountType::BIND),
        source: Some(text(&mount.source)?),
        target: Some(text(&mount.target)?),
        read_only: Some(mount.read_only),
        ..Mount::default()
    })
}

fn port_name(port: &PortSpec) -> Result<String, RuntimeError> {
    let protocol = port.protocol.as_str();
    if port.container_port == 0 || port.host_port == 0 || !matches!(protocol, "tcp" | "udp") {
        let reason = format!("{}:{}/{protocol}: ports start at 1, the protocol is tcp or udp", port.host_port, port.container_port);
        return Err(RuntimeError::InvalidSpec { what: "published port", reason });
    }
    Ok(format!("{}/{protocol}", port.container_port))
}

fn environment(spec: &InstanceSpec) -> Result<Vec<String>, RuntimeError> {
    let one = |(name, value): (&String, &String)| {
        // The engine would read `NAME` without a value as "take it from the daemon's environment" or "remove it".
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let reason = format!("{name:?} cannot be the name of an environment variable, or its value holds a zero byte");
            return Err(RuntimeError::InvalidSpec { what: "environment", reason });
        }
        Ok(format!("{name}={value}"))
    };
    spec.environment.iter().map(one).collect()
}

/// The engine reads 0 as "no limit", which nobody who wrote a limit means.
fn limit(what: &'static str, value: u64) -> Result<i64, RuntimeError> {
    let bad = || RuntimeError::InvalidSpec { what, reason: format!("{value} is outside 1..=2^63-1") };
    i64::try_from(value).ok().filter(|value| *value > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::runtime::InstanceKey;
    use crate::runtime::spec::GuardSpec;

    fn spec() -> InstanceSpec {
        InstanceSpec {
            key: InstanceKey { container: "pg".to_owned(), token: 5, attempt: 1 },
            cluster: "c".to_owned(),
            host: "h".to_owned(),
            lease: 4,
            image: "img:1".to_owned(),
            command: Vec::new(),
            environment: BTreeMap::from([("A".to_owned(), "1=2".to_owned())]),
            mounts: vec![MountSpec { source: "/srv/v".into(), target: "/data".into(), read_only: true }],
            ports: vec![PortSpec { host_address: String::new(), host_port: 5432, container_port: 5432, protocol: "tcp".to_owned() }],
            cpu_millis: Some(1500),
            memory_bytes: Some(1 << 26),
            stop_signal: None,
            privileged: false,
            guard: GuardSpec {
                binary: "/run/berth/guard".into(),
                page: "/run/berth/page".into(),
                status: "/run/berth/status-1".into(),
                init: None,
                pre_start: None,
            },
        }
    }

    #[test]
    fn the_body_carries_limits_and_bind_mounts_and_no_restart() {
        let image = ImageCommand { entrypoint: vec!["/entry".to_owned()], cmd: vec!["serve".to_owned()] };
        let body = create_body(&spec(), &image).unwrap();
        assert_eq!(body.cmd, None, "it is in the entry point");
        let words = body.entrypoint.unwrap();
        assert_eq!(words[0], "/.berth/guard");
        assert_eq!(words[words.len() - 3..], ["--", "/entry", "serve"].map(str::to_owned), "an empty command keeps the image's");
        let own = InstanceSpec { command: vec!["mine".to_owned()], ..spec() };
        let words = create_body(&own, &image).unwrap().entrypoint.unwrap();
        assert_eq!(words[words.len() - 3..], ["--", "/entry", "mine"].map(str::to_owned), "only the command: the entry point stays");
        let nothing = create_body(&spec(), &ImageCommand::default()).unwrap_err();
        assert!(matches!(nothing, RuntimeError::InvalidSpec { what: "command", .. }), "{nothing}");
        assert_eq!(body.env.as_deref(), Some(["A=1=2".to_owned()].as_slice()));
        let host = body.host_config.unwrap();
        assert_eq!((host.nano_cpus, host.memory, host.memory_swap), (Some(1_500_000_000), Some(1 << 26), Some(1 << 26)));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.binds, None, "binds would create a missing source");
        let mounts = host.mounts.unwrap();
        let berths: Vec<_> = mounts[1..].iter().map(|mount| (mount.target.as_deref().unwrap(), mount.read_only.unwrap())).collect();
        assert_eq!(berths, [("/.berth/guard", true), ("/.berth/page", true), ("/.berth/status", false)]);
        let mount = mounts[0].clone();
        assert_eq!((mount.typ, mount.read_only), (Some(MountType::BIND), Some(true)));
        assert_eq!(mount.bind_options, None);
        assert!(host.port_bindings.unwrap().contains_key("5432/tcp"));
    }

    #[test]
    fn what_the_engine_would_misread_is_refused_before_it() {
        type Break = fn(&mut InstanceSpec);
        let breaks: [(&str, Break); 7] = [
            ("memory limit", |spec| spec.memory_bytes = Some(0)),
            ("CPU limit", |spec| spec.cpu_millis = Some(u64::MAX)),
            ("mount", |spec| spec.mounts[0].source = "relative".into()),
            ("published port", |spec| spec.ports[0].protocol = "sctp".to_owned()),
            ("published port", |spec| spec.ports[0].host_port = 0),
            ("environment", |spec| drop(spec.environment.insert("B=".to_owned(), String::new()))),
            ("environment", |spec| drop(spec.environment.insert(String::new(), "x".to_owned()))),
        ];
        for (expected, spoil) in breaks {
            let mut spec = spec();
            spoil(&mut spec);
            let image = ImageCommand { entrypoint: vec![], cmd: vec!["serve".to_owned()] };
            let error = create_body(&spec, &image).unwrap_err();
            assert!(matches!(&error, RuntimeError::InvalidSpec { what, .. } if *what == expected), "{error}");
        }
    }
}
