//! Why a volume cannot be had now, in one line that a person reads in the output of `docker run` or `berth lease run`: who holds it, under which token, when a
//! takeover is safe at the earliest, and what to do. Pure.

use berth_state::ids::VolumeId;
use berth_state::noun::lease::{Lease, Phase};
use berth_state::rejection::{Class, Rejection};

use super::names::Kind;
use crate::control::WhyAnswer;

/// Why a claim was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else has it: waiting may help.
    #[error("{0}")]
    Held(String),
    /// There is no such volume.
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// From the rules' own words; `why`: what the leader says about the volume, where it could be asked.
    #[must_use]
    pub fn rejected(volume: &VolumeId, rejection: &Rejection, why: Option<&WhyAnswer>) -> Self {
        if let Rejection::VolumeNotFound { volume } = rejection {
            return Self::unknown(volume);
        }
        if let Some(holder) = why.and_then(|why| why.holder.as_ref()) {
            return Self::Held(held(volume, holder, why.and_then(|why| why.earliest_takeover_ms)));
        }
        let line = one_line(&rejection.to_string());
        match rejection.class() {
            Class::Held => Self::Held(line),
            Class::NotFound | Class::Other => Self::Other(format!("volume {volume}: {line}; see `berth why {volume}`")),
        }
    }

    #[must_use]
    pub fn unknown(volume: &VolumeId) -> Self {
        Self::NotFound(format!(
            "no volume {volume} is registered: `berth volume ls` shows those that are, `berth volume add {volume}` adds it"
        ))
    }
}

/// Who has it, and what that means for who wants it.
fn held(volume: &VolumeId, holder: &Lease, earliest_ms: Option<u64>) -> String {
    let phase = match holder.phase {
        Phase::Granted => "granted",
        Phase::Active => "active",
        Phase::Closing => "closing",
        Phase::Expired => "expired",
    };
    let takeover = match earliest_ms {
        _ if holder.phase == Phase::Granted => "earliest safe takeover in a few seconds if that host does not take it up".to_owned(),
        Some(ms) => format!("earliest safe takeover in {}.{} s if that host stays silent from now on", ms / 1000, ms % 1000 / 100),
        None => "no safe takeover by time alone, only after its release, a fence, or `berth fence confirm`".to_owned(),
    };
    let end = match Kind::of(holder.container.as_str()) {
        Some(Kind::Docker) => format!("stop the containers that use it on host {}", holder.host),
        Some(Kind::Run) => format!("end the command that uses it on host {}", holder.host),
        None => format!("`berth container stop {}`", holder.container),
    };
    format!(
        "volume {volume} is held by {} on host {} under token {} ({phase}); {takeover}; to have it here: {end}, or see `berth why {volume}`",
        holder.container, holder.host, holder.token
    )
}

/// Docker shows a text as it is; a line break would look like another message.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use berth_state::ids::{ContainerId, HostId, LeaseId, Token};

    fn rejection(volume: &VolumeId) -> Rejection {
        let (container, host) = (ContainerId::new("docker.h2.pg").unwrap(), HostId::new("h2").unwrap());
        Rejection::VolumeHeld { volume: volume.clone(), lease: LeaseId(57), token: Token(57), container, host, phase: Phase::Active }
    }

    #[test]
    fn the_loser_reads_holder_token_takeover_and_what_to_do_in_one_line() {
        let volume = VolumeId::new("pg").unwrap();
        let mut holder = crate::testing::lease(57);
        (holder.container, holder.host, holder.phase) =
            (ContainerId::new("docker.h2.pg").unwrap(), HostId::new("h2").unwrap(), Phase::Active);
        let mut why = WhyAnswer { holder: Some(holder), earliest_takeover_ms: Some(12_345), ..WhyAnswer::default() };
        let line = Refusal::rejected(&volume, &rejection(&volume), Some(&why)).to_string();
        for word in ["docker.h2.pg", "host h2", "token 57", "in 12.3 s", "stop the containers", "berth why pg"] {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert!(!line.contains('\n'));
        why.earliest_takeover_ms = None;
        assert!(Refusal::rejected(&volume, &rejection(&volume), Some(&why)).to_string().contains("berth fence confirm"));
    }

    #[test]
    fn without_the_leaders_word_the_rules_own_line_stands() {
        let volume = VolumeId::new("pg").unwrap();
        let refusal = Refusal::rejected(&volume, &rejection(&volume), None);
        assert!(matches!(&refusal, Refusal::Held(line) if line.contains("token 57") && line.contains("h2")), "{refusal}");
        let unknown = Refusal::rejected(&volume, &Rejection::VolumeNotFound { volume: volume.clone() }, None);
        assert!(matches!(&unknown, Refusal::NotFound(line) if line.contains("berth volume add pg")), "{unknown}");
    }
}
