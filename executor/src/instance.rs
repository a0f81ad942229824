//! From a lease to what the runtime is told to run. Pure. Called by the launch step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_state::ids::{ClusterId, VolumeId};
use berth_state::noun::container::{Protocol, RuntimeKind};
use berth_state::noun::lease::Lease;

use crate::runtime::spec::{GuardSpec, MountSpec, PortSpec};
use crate::runtime::{InstanceKey, InstanceSpec};
use crate::step_done::StepError;

/// # Errors
/// When a volume of the container is not mounted: a defect of the plan, or a spec that names a volume the lease does not hold.
pub fn instance_spec(
    lease: &Lease,
    attempt: u32,
    cluster: ClusterId,
    sources: &BTreeMap<VolumeId, PathBuf>,
) -> Result<InstanceSpec, StepError> {
    let spec = &lease.spec;
    let mut environment = spec.environment.clone();
    let mut mounts = Vec::new();
    for mount in &spec.volumes {
        let Some(source) = sources.get(&mount.volume) else {
            let reason = format!("volume {} is not mounted under this lease", mount.volume);
            return Err(StepError::Failed { reason, may_succeed_later: true });
        };
        let target = PathBuf::from(&mount.path);
        environment.insert(variable(&mount.volume), seen_at(spec.runtime, source, &target));
        mounts.push(MountSpec { source: source.clone(), target, read_only: mount.read_only });
    }
    environment.insert("BERTH_TOKEN".to_owned(), lease.token.to_string());
    environment.insert("BERTH_LEASE".to_owned(), lease.id.to_string());
    environment.insert("BERTH_CONTAINER".to_owned(), lease.container.to_string());
    environment.insert("BERTH_HOST".to_owned(), lease.host.to_string());
    let ports = spec.ports.iter().map(|port| PortSpec {
        host_address: port.host_address.clone(),
        host_port: port.host_port,
        container_port: port.container_port,
        protocol: match port.protocol {
            Protocol::Tcp => "tcp".to_owned(),
            Protocol::Udp => "udp".to_owned(),
        },
    });
    Ok(InstanceSpec {
        key: InstanceKey { container: lease.container.to_string(), token: lease.token.0, attempt },
        cluster: cluster.to_string(),
        host: lease.host.to_string(),
        lease: lease.id.0,
        image: spec.image.clone(),
        command: spec.command.clone(),
        environment,
        mounts,
        ports: ports.collect(),
        cpu_millis: spec.limits.cpu_millis,
        memory_bytes: spec.limits.memory_bytes,
        stop_signal: spec.stop_signal.clone(),
        privileged: spec.privileged,
        // The launch step makes its files first.
        guard: GuardSpec::default(),
    })
}

/// `BERTH_VOLUME_<NAME>`: upper case, '-' and '.' as '_'.
fn variable(volume: &VolumeId) -> String {
    format!("BERTH_VOLUME_{}", volume.as_str().to_ascii_uppercase().replace(['-', '.'], "_"))
}

/// Where the instance finds the volume: a Docker container has its own mounts, a process sees the host's.
fn seen_at(runtime: RuntimeKind, source: &Path, target: &Path) -> String {
    let path = match runtime {
        RuntimeKind::Docker => target,
        RuntimeKind::Process | RuntimeKind::External => source,
    };
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::{lease, with_volume};

    fn spec(runtime: RuntimeKind) -> InstanceSpec {
        let mut lease = with_volume(lease(11), "pg-data.1", Path::new("/shared/pg"));
        lease.spec.runtime = runtime;
        let sources = BTreeMap::from([(VolumeId::new("pg-data.1").unwrap(), PathBuf::from("/shared/pg"))]);
        instance_spec(&lease, 3, ClusterId([1; 16]), &sources).unwrap()
    }

    #[test]
    fn the_instance_is_told_its_lease_and_where_its_volumes_are() {
        let docker = spec(RuntimeKind::Docker);
        assert_eq!(docker.environment["BERTH_VOLUME_PG_DATA_1"], "/data");
        assert_eq!(docker.environment["BERTH_TOKEN"], "11");
        assert_eq!(docker.environment["BERTH_LEASE"], "11");
        assert_eq!(docker.key.instance_name(), "berth-c11-11-3");
        assert_eq!(spec(RuntimeKind::Process).environment["BERTH_VOLUME_PG_DATA_1"], "/shared/pg");
    }

    #[test]
    fn a_volume_that_is_not_mounted_is_never_left_out() {
        let lease = with_volume(lease(11), "pg", Path::new("/shared/pg"));
        assert!(instance_spec(&lease, 1, ClusterId([1; 16]), &BTreeMap::new()).is_err());
    }
}
