//! Events in words, for the live view and the timeline. Keeps in mind who holds which token, because most events name only that.

use std::collections::BTreeMap;

use berth_state::ids::Token;
use berth_state::noun::container::{Desired, Relocation};
use berth_state::noun::lease::GrantCause;
use berth_state::{Event, Fact};

/// Tells events in their order.
#[derive(Debug, Default)]
pub struct Narrator {
    /// Container and host of each token.
    holders: BTreeMap<Token, (String, String)>,
}

impl Narrator {
    /// One line about the event; every event must be told, also those that are not shown.
    pub fn tell(&mut self, event: &Event) -> String {
        if let Fact::LeaseGranted { token, container, host, .. } = &event.fact {
            self.holders.insert(*token, (container.to_string(), host.to_string()));
        }
        self.words(&event.fact)
    }

    fn held(&self, token: Token) -> String {
        match self.holders.get(&token) {
            Some((container, host)) => format!("token {token} ({container} on {host})"),
            None => format!("token {token}"),
        }
    }

    fn words(&self, fact: &Fact) -> String {
        match fact {
            Fact::ClusterInitialized { settings, .. } | Fact::SettingsChanged { settings } => format!("ttl {} ms", settings.ttl_ms),
            Fact::FormatRaised { format } => format!("format {format}"),
            Fact::HostAdded { host, .. } | Fact::HostUpdated { host, .. } | Fact::HostRemoved { host } => host.to_string(),
            Fact::HostSchedulingChanged { host, scheduling } => format!("{host}: {scheduling:?}").to_lowercase(),
            Fact::HostHealthChanged { host, health } => format!("{host} is {health:?}").to_lowercase(),
            Fact::VolumeAdded { volume, .. } | Fact::VolumeUpdated { volume, .. } | Fact::VolumeRemoved { volume } => volume.to_string(),
            Fact::ContainerAdded { container, .. } | Fact::ContainerUpdated { container, .. } | Fact::ContainerRemoved { container } => {
                container.to_string()
            }
            Fact::ContainerDesiredChanged { container, desired } => match desired {
                Desired::Running => format!("{container} is to run"),
                Desired::Stopped => format!("{container} is to stop"),
            },
            Fact::ContainerRelocationRequested { container, relocation } => match relocation {
                Relocation::Restart => format!("{container} is to restart"),
                Relocation::Move { to: Some(to) } => format!("{container} is to move to {to}"),
                Relocation::Move { to: None } => format!("{container} is to move"),
            },
            Fact::LeaseGranted { token, cause, .. } => format!("{}: {}", self.held(*token), cause_words(cause)),
            Fact::LeaseActivated { token, .. } => format!("{} is claimed by its holder and runs from now", self.held(*token)),
            Fact::LeaseWithdrawn { token, why, .. } => format!("{}: {why:?}", self.held(*token)),
            Fact::LeaseRevoked { token, reason, .. } => format!("{}: please stop ({reason:?})", self.held(*token)),
            Fact::LeaseClosed { token, why, .. } => format!("{}: no more renewals ({why:?})", self.held(*token)),
            Fact::LeaseExpired { token, .. } => format!("{} ran out; expired is not free", self.held(*token)),
            Fact::FenceStarted { token, method, .. } => format!("{}: {method:?}", self.held(*token)),
            Fact::LeaseFenced { token, evidence, .. } => format!("{} writes no more: {}", self.held(*token), evidence.label()),
            Fact::LeaseReleased { token, .. } => format!("{} is given back", self.held(*token)),
            Fact::FenceAttempted { host, attempt, .. } => format!("{host}: {} by node {}", attempt.agent, attempt.node),
            Fact::FenceTried { host, ok, output, .. } => format!("{host}: {}: {output}", if *ok { "done" } else { "failed" }),
            Fact::HolderGone { host, token, .. } => format!("{}: nothing of it is left on {host}", self.held(*token)),
            Fact::CutLiftStarted { volume, host, .. } => format!("{host} may have {volume} again: lifting its bar"),
            Fact::CutLifted { volume, host, .. } => format!("{host} may have {volume} again"),
            Fact::SplitBrainSuspected { volume, token, other, .. } => format!("{volume}: tokens {token} and {other} may both write"),
            Fact::SuspicionCleared { volume, name, .. } => format!("{volume}: cleared by {name}"),
            Fact::SessionOpened { session, .. } => format!("session {} of {}", session.id, session.host),
            Fact::SessionClosed { session, host, why } => format!("session {session} of {host}: {why:?}").to_lowercase(),
            Fact::SessionCloned { session, host } => format!("two machines speak for session {session} of {host}"),
            Fact::InstanceObserved { token, status, .. } => {
                let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
                format!("{} is {}{message}", self.held(*token), format!("{:?}", status.state).to_lowercase())
            }
        }
    }
}

fn cause_words(cause: &GrantCause) -> String {
    match cause {
        GrantCause::Placed => "placed".to_owned(),
        GrantCause::Relocated { from } => format!("moved from token {from}"),
        GrantCause::Failover { from } => format!("failover from token {from}"),
        GrantCause::Claimed => "claimed on that host".to_owned(),
    }
}
