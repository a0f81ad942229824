//! Events as protobuf.

use crate::codec::wire::{message, oneof};
use crate::event::{Event, Fact};

message! { Event { revision, actor, fact; time as time_ms } }

oneof! {
    Fact in fact {
        ClusterInitialized { cluster, format, settings },
        SettingsChanged { settings },
        FormatRaised { format },
        HostAdded { host, spec },
        HostUpdated { host, version, spec },
        HostRemoved { host },
        HostSchedulingChanged { host, scheduling },
        HostHealthChanged { host, health },
        VolumeAdded { volume, spec },
        VolumeUpdated { volume, version, spec },
        VolumeRemoved { volume },
        ContainerAdded { container, spec, desired },
        ContainerUpdated { container, version, spec },
        ContainerRemoved { container },
        ContainerDesiredChanged { container, desired },
        ContainerRelocationRequested { container, relocation },
        LeaseGranted { lease, token, container, version, host, session, cause },
        LeaseActivated { lease, token },
        LeaseWithdrawn { lease, token, why },
        LeaseRevoked { lease, token, reason, drain_ms },
        LeaseClosed { lease, token, why },
        LeaseExpired { lease, token, renewed },
        FenceStarted { lease, token, method },
        LeaseFenced { lease, token, evidence },
        LeaseReleased { lease, token, session, exit, finished },
        SessionOpened { session, predecessor },
        SessionClosed { session, host, why },
        SessionCloned { session, host },
        InstanceObserved { lease, token, status },
        FenceAttempted { host, attempt, instead },
        FenceTried { host, attempt, ok, output },
        HolderGone { host, token, proof },
        CutLiftStarted { volume, host, newest },
        CutLifted { volume, host, newest },
        SplitBrainSuspected { volume, token, other, host },
        SuspicionCleared { volume, name, reason },
    }
}
