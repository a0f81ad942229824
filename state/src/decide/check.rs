//! What is a well-formed spec: bounds and forms that one object must keep by itself. Called by the other files of `decide`. Every refusal
//! names the field and says what would do.

use std::collections::BTreeSet;

use crate::ids::Version;
use crate::noun::cluster::Settings;
use crate::noun::container::{ContainerSpec, HealthCheck, Hook, RuntimeKind};
use crate::noun::host::{Capacity, FenceAgent, HostSpec};
use crate::noun::session::Declaration;
use crate::noun::volume::{Takeover, VolumeSpec};
use crate::placement::collide;
use crate::rejection::Rejection;
use crate::storage::StorageOptions;

/// Bounds on the registry, so that state, snapshots and watches stay of a known size.
pub(crate) const MAX_HOSTS: usize = 10_000;
pub(crate) const MAX_VOLUMES: usize = 100_000;
pub(crate) const MAX_CONTAINERS: usize = 100_000;
const MAX_FENCE_AGENTS: usize = 8;
const MAX_ENTRIES: usize = 256;
const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 8_192;
const MAX_SPEC_BYTES: usize = 65_536;
const MAX_DURATION_MS: u64 = 86_400_000;

fn invalid(field: &str, reason: impl Into<String>) -> Rejection {
    Rejection::Invalid { field: field.to_owned(), reason: reason.into() }
}

pub(super) fn limit(what: &str, count: usize, max: usize) -> Result<(), Rejection> {
    if count >= max { Err(Rejection::LimitExceeded { what: what.to_owned(), limit: max as u64 }) } else { Ok(()) }
}

/// Compare-and-set on an object's version.
pub(super) fn next_version(kind: &str, id: &str, expected: Version, actual: Version) -> Result<Version, Rejection> {
    if expected != actual {
        return Err(Rejection::VersionMismatch { object: format!("{kind} {id}"), expected, actual });
    }
    Ok(Version(actual.0 + 1))
}

pub(super) fn settings(s: &Settings) -> Result<(), Rejection> {
    if !(Settings::MIN_TTL_MS..=Settings::MAX_TTL_MS).contains(&s.ttl_ms) {
        return Err(invalid("settings.ttl_ms", format!("{} to {}", Settings::MIN_TTL_MS, Settings::MAX_TTL_MS)));
    }
    if !(500..=600_000).contains(&s.activation_ms) {
        return Err(invalid("settings.activation_ms", "500 to 600000"));
    }
    if !(500..=600_000).contains(&s.fence_after_ms) {
        return Err(invalid("settings.fence_after_ms", "500 to 600000"));
    }
    Ok(())
}

fn entries<'a>(field: &str, count: usize, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Rejection> {
    if count > MAX_ENTRIES {
        return Err(Rejection::LimitExceeded { what: field.to_owned(), limit: MAX_ENTRIES as u64 });
    }
    let mut total = 0;
    for (key, value) in pairs {
        if key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains(['\0', '=', '\n']) {
            return Err(invalid(field, format!("{key:?}: a key has 1 to {MAX_KEY_BYTES} bytes and none of '=', NUL, newline")));
        }
        if value.len() > MAX_VALUE_BYTES || value.contains('\0') {
            return Err(invalid(field, format!("{key}: a value has at most {MAX_VALUE_BYTES} bytes and no NUL")));
        }
        total += key.len() + value.len();
    }
    if total > MAX_SPEC_BYTES {
        return Err(Rejection::LimitExceeded { what: format!("{field} in bytes"), limit: MAX_SPEC_BYTES as u64 });
    }
    Ok(())
}

fn capacity(field: &str, c: &Capacity) -> Result<(), Rejection> {
    if c.cpu_millis == Some(0) || c.memory_bytes == Some(0) {
        return Err(invalid(field, "0 is nothing: leave it out for no limit"));
    }
    Ok(())
}

pub(super) fn host(spec: &HostSpec) -> Result<(), Rejection> {
    if spec.address.len() > 255 || spec.address.chars().any(char::is_whitespace) {
        return Err(invalid("address", "an address or host name, at most 255 bytes"));
    }
    entries("labels", spec.labels.len(), spec.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    if spec.labels.contains_key("host") {
        return Err(invalid("labels", "the key \"host\" stands for the host's name in constraints"));
    }
    capacity("capacity", &spec.capacity)?;
    if spec.storage_address.len() > 255 || spec.storage_address.contains(|c: char| c.is_whitespace() || c == ',') {
        return Err(invalid("storage_address", "one address or host name, at most 255 bytes"));
    }
    limit("fence agents of one host", spec.fence_agents.len(), MAX_FENCE_AGENTS + 1)?;
    spec.fence_agents.iter().try_for_each(fence_agent)
}

/// Option lines are `key=value` on the agent's standard input: nothing in them may begin a line of its own.
fn fence_agent(agent: &FenceAgent) -> Result<(), Rejection> {
    let name = agent.agent.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let by_name = name.starts_with("fence_") && name.chars().all(plain);
    if name.len() > MAX_KEY_BYTES || !(by_name || absolute("fence_agents.agent", name).is_ok()) {
        return Err(invalid("fence_agents.agent", format!("{name:?}: fence_NAME as installed, or an absolute path")));
    }
    for (field, options) in [("fence_agents.options", &agent.options), ("fence_agents.secrets", &agent.secrets.0)] {
        entries(field, options.len(), options.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
        if let Some((key, _)) = options.iter().find(|(_, value)| value.contains(['\n', '\r'])) {
            return Err(invalid(field, format!("{key}: a value is one line")));
        }
        if let Some(key) = options.keys().find(|key| matches!(key.as_str(), "action" | "option")) {
            return Err(invalid(field, format!("{key}: Berth sets it")));
        }
    }
    if !(1_000..=600_000).contains(&agent.timeout_ms) {
        return Err(invalid("fence_agents.timeout_ms", "1000 to 600000"));
    }
    Ok(())
}

/// An operator's word counts only with who and why.
pub(super) fn word_of(name: &str, reason: &str) -> Result<(), String> {
    if name.trim().is_empty() || reason.trim().is_empty() {
        return Err("an operator's word needs a name and a reason".to_owned());
    }
    if name.len() > 128 || reason.len() > 1_024 {
        return Err("name: at most 128 bytes, reason: at most 1024".to_owned());
    }
    Ok(())
}

pub(super) fn volume(spec: &VolumeSpec) -> Result<(), Rejection> {
    entries("options", spec.options.len(), spec.options.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    if spec.lock_delay_ms > VolumeSpec::MAX_LOCK_DELAY_MS {
        return Err(invalid("lock_delay_ms", format!("at most {}", VolumeSpec::MAX_LOCK_DELAY_MS)));
    }
    StorageOptions::parse(spec.driver, &spec.options).map_err(|(field, reason)| invalid(&field, reason))?;
    let unsupported = |why: &str| Err(Rejection::TakeoverUnsupported { driver: spec.driver, takeover: spec.takeover, why: why.to_owned() });
    match spec.takeover {
        // Dead processes still have dirty pages.
        Takeover::AfterExpiry if !spec.can_cut() && !spec.coherent => unsupported(
            "it cannot cut off the late writes of a dead host; state --coherent if they cannot reach the data (one page cache, or synchronous storage), or use manual",
        ),
        Takeover::AfterFence | Takeover::AfterExpiry | Takeover::Manual => Ok(()),
    }
}

fn absolute(field: &str, path: &str) -> Result<(), Rejection> {
    let parts_ok = path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    if path.starts_with('/') && path.len() > 1 && parts_ok && !path.contains([',', ':', '\0', '\n']) && path.len() <= 4_096 {
        return Ok(());
    }
    Err(invalid(field, format!("{path:?}: an absolute path without '.', '..', '//', trailing '/', ',' or ':'")))
}

pub(super) fn container(spec: &ContainerSpec) -> Result<(), Rejection> {
    match spec.runtime {
        RuntimeKind::Docker if spec.image.is_empty() => return Err(invalid("image", "the docker runtime needs an image")),
        RuntimeKind::Process if !spec.image.is_empty() => return Err(invalid("image", "the process runtime has no images: leave it out")),
        RuntimeKind::Process if spec.command.is_empty() => return Err(invalid("command", "the process runtime needs a command")),
        RuntimeKind::Process | RuntimeKind::External if spec.privileged => {
            return Err(invalid("privileged", "only the docker runtime has privileged instances"));
        }
        RuntimeKind::External if !spec.image.is_empty() => return Err(invalid("image", "a claimed lease has no image: leave it out")),
        RuntimeKind::Docker | RuntimeKind::Process | RuntimeKind::External => {}
    }
    if spec.image.len() > 512 || spec.image.contains(char::is_whitespace) {
        return Err(invalid("image", "a Docker image reference of at most 512 bytes"));
    }
    words("command", &spec.command)?;
    entries("environment", spec.environment.len(), spec.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    if let Some(key) = spec.environment.keys().find(|k| k.starts_with("BERTH_")) {
        return Err(invalid("environment", format!("{key}: names that start with BERTH_ are set by Berth")));
    }
    mounts(spec)?;
    ports(spec)?;
    capacity("limits", &spec.limits)?;
    spec.health_check.as_ref().map_or(Ok(()), health)?;
    for (field, hook) in [("init", &spec.init), ("pre_start", &spec.pre_start)] {
        hook.as_ref().map_or(Ok(()), |hook| entry_hook(field, hook))?;
    }
    placement(spec)?;
    stop(spec)
}

fn words(field: &str, words: &[String]) -> Result<(), Rejection> {
    if words.len() > MAX_ENTRIES || words.iter().map(String::len).sum::<usize>() > MAX_SPEC_BYTES {
        return Err(Rejection::LimitExceeded { what: field.to_owned(), limit: MAX_ENTRIES as u64 });
    }
    if words.iter().any(|w| w.contains('\0')) || words.first().is_some_and(String::is_empty) {
        return Err(invalid(field, "words without NUL, the first not empty"));
    }
    Ok(())
}

fn mounts(spec: &ContainerSpec) -> Result<(), Rejection> {
    limit("volumes of one container", spec.volumes.len(), 64)?;
    let mut volumes = BTreeSet::new();
    let mut paths: Vec<&str> = Vec::new();
    for mount in &spec.volumes {
        absolute("volumes.path", &mount.path)?;
        if !volumes.insert(&mount.volume) {
            return Err(invalid("volumes", format!("volume {} is named twice", mount.volume)));
        }
        if paths.contains(&mount.path.as_str()) {
            return Err(invalid("volumes", format!("{} is used twice", mount.path)));
        }
        paths.push(&mount.path);
    }
    Ok(())
}

fn ports(spec: &ContainerSpec) -> Result<(), Rejection> {
    limit("ports of one container", spec.ports.len(), MAX_ENTRIES)?;
    for (i, port) in spec.ports.iter().enumerate() {
        if port.host_port == 0 || port.container_port == 0 {
            return Err(invalid("ports", "1 to 65535"));
        }
        if !port.host_address.is_empty() && port.host_address.parse::<core::net::IpAddr>().is_err() {
            return Err(invalid("ports", format!("{:?} is not an IP address", port.host_address)));
        }
        if spec.ports[..i].iter().any(|other| collide(port, other)) {
            return Err(invalid("ports", format!("host port {} is published twice", port.host_port)));
        }
    }
    Ok(())
}

fn health(check: &HealthCheck) -> Result<(), Rejection> {
    if check.command.is_empty() {
        return Err(invalid("health_check.command", "a command to run inside the container"));
    }
    words("health_check.command", &check.command)?;
    for (field, ms, least) in [
        ("health_check.interval_ms", check.interval_ms, 100),
        ("health_check.timeout_ms", check.timeout_ms, 100),
        ("health_check.start_period_ms", check.start_period_ms, 0),
    ] {
        if !(least..=MAX_DURATION_MS).contains(&ms) {
            return Err(invalid(field, format!("{least} to {MAX_DURATION_MS} ms")));
        }
    }
    if !(1..=1_000).contains(&check.retries) {
        return Err(invalid("health_check.retries", "1 to 1000"));
    }
    Ok(())
}

fn entry_hook(field: &str, hook: &Hook) -> Result<(), Rejection> {
    if hook.command.is_empty() {
        return Err(invalid(field, "a command to run inside the container"));
    }
    words(field, &hook.command)?;
    if !(100..=MAX_DURATION_MS).contains(&hook.timeout_ms) {
        return Err(invalid(&format!("{field}.timeout_ms"), format!("100 to {MAX_DURATION_MS} ms")));
    }
    Ok(())
}

fn placement(spec: &ContainerSpec) -> Result<(), Rejection> {
    limit("constraints", spec.constraints.len(), MAX_ENTRIES)?;
    limit("anti-affinities", spec.anti_affinity.len(), MAX_ENTRIES)?;
    entries("constraints", spec.constraints.len(), spec.constraints.iter().map(|c| (c.key.as_str(), c.value.as_str())))
}

fn stop(spec: &ContainerSpec) -> Result<(), Rejection> {
    if spec.stop_grace_ms > MAX_DURATION_MS {
        return Err(invalid("stop_grace_ms", format!("at most {MAX_DURATION_MS}")));
    }
    match &spec.stop_signal {
        Some(name) if !SIGNALS.contains(&name.as_str()) => Err(invalid("stop_signal", format!("{name:?}: one of {}", SIGNALS.join(", ")))),
        Some(_) | None => Ok(()),
    }
}

/// Signals that can be a request to stop.
const SIGNALS: [&str; 8] = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"];

pub(super) fn declaration(d: &Declaration) -> Result<(), Rejection> {
    if d.runtimes.is_empty() {
        return Err(invalid("runtimes", "an executor needs at least one runtime"));
    }
    if d.program.len() > 128 {
        return Err(invalid("program", "at most 128 bytes"));
    }
    Ok(())
}
