//! What a claimed lease's container is called: `docker.<host>.<volume>` or `run.<host>.<volume>`, so that a person sees at once what it is. Pure.

use berth_state::ids::{ContainerId, HostId, NameError, VolumeId};

/// Longest name there may be.
const LONGEST: usize = 63;
/// Of a shortened name, a dash and eight digits are its checksum.
const KEPT: usize = LONGEST - 9;

/// Who uses the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Containers of this host's engine, through the volume plugin.
    Docker,
    /// One command, through `berth lease run`.
    Run,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Docker => "docker.",
            Self::Run => "run.",
        }
    }

    /// What a container of this name is.
    #[must_use]
    pub fn of(container: &str) -> Option<Self> {
        [Self::Docker, Self::Run].into_iter().find(|kind| container.starts_with(kind.prefix()))
    }
}

/// # Errors
/// Never for valid ids; the type says so.
pub fn container(kind: Kind, host: &HostId, volumes: &[VolumeId]) -> Result<ContainerId, NameError> {
    let all: Vec<&str> = volumes.iter().map(VolumeId::as_str).collect();
    let full = format!("{}{host}.{}", kind.prefix(), all.join("."));
    if full.len() <= LONGEST {
        return ContainerId::new(&full);
    }
    ContainerId::new(&format!("{}-{:08x}", &full[..KEPT], crc32fast::hash(full.as_bytes())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_and_long_ones_stay_valid_and_apart() {
        let host = HostId::new("h1").unwrap();
        let volume = |name: &str| VolumeId::new(name).unwrap();
        let name = container(Kind::Docker, &host, &[volume("pg")]).unwrap();
        assert_eq!(name.as_str(), "docker.h1.pg");
        assert_eq!((Kind::of(name.as_str()), Kind::of("run.x"), Kind::of("db")), (Some(Kind::Docker), Some(Kind::Run), None));
        let long = |last: &str| {
            container(Kind::Run, &HostId::new(&"h".repeat(60)).unwrap(), &[volume(&format!("{}{last}", "v".repeat(60)))]).unwrap()
        };
        assert_ne!(long("a"), long("b"));
        assert_eq!(Kind::of(long("a").as_str()), Some(Kind::Run));
    }
}
