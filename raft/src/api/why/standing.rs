//! On what the promise of one writer stands: the rung of design section 4, what that rests on, and what it cannot hold. Pure, in plain words; the rules
//! themselves are in `berth_state`.

use berth_state::ClusterState;
use berth_state::noun::container::Container;
use berth_state::noun::host::Host;
use berth_state::noun::lease::Lease;
use berth_state::noun::session::{Cut, Guard};
use berth_state::noun::volume::{Takeover, Volume, VolumeSpec};
use berth_state::pb::api;

/// Of one volume, or of a container without volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Empty: of the container itself.
    pub volume: String,
    /// `None`: no host can have it now.
    pub rung: Option<u32>,
    pub rests_on: Vec<String>,
    pub cannot_hold: Vec<String>,
}

impl Standing {
    pub fn to_pb(&self) -> api::Standing {
        let Self { volume, rung, rests_on, cannot_hold } = self.clone();
        api::Standing { volume, rung, rests_on, cannot_hold }
    }
}

/// What enforces a lease on one host.
struct Ground<'a> {
    guard: Guard,
    cut: Cut,
    host: Option<&'a Host>,
    privileged: bool,
}

/// As frozen at the grant; fence agents as the host has them now.
#[must_use]
pub fn of_lease(state: &ClusterState, lease: &Lease) -> Vec<Standing> {
    let ground = |cut| Ground { guard: lease.guard, cut, host: state.host(&lease.host), privileged: lease.spec.privileged };
    if lease.volumes.is_empty() {
        return vec![of_instance(&ground(Cut::None))];
    }
    lease.volumes.iter().map(|held| on(held.volume.as_str(), &held.spec, &ground(held.cut))).collect()
}

/// Of what nobody holds: the weakest that a host with a live executor would give it.
#[must_use]
pub fn of_free(state: &ClusterState, container: Option<&Container>, volume: Option<&Volume>) -> Vec<Standing> {
    let privileged = container.is_some_and(|c| c.spec.privileged);
    let volumes: Vec<&Volume> = match container {
        Some(container) => container.spec.volumes.iter().filter_map(|mount| state.volume(&mount.volume)).collect(),
        None => volume.into_iter().collect(),
    };
    if volumes.is_empty() && container.is_some() {
        let grounds = state.hosts().filter_map(|host| {
            let guard = state.session(host.session?)?.declared.guard;
            Some(Ground { guard, cut: Cut::None, host: Some(host), privileged })
        });
        let weakest = grounds.map(|ground| of_instance(&ground)).min_by_key(|standing| standing.rung);
        return vec![weakest.unwrap_or_else(|| nowhere("", None))];
    }
    volumes.into_iter().map(|volume| weakest(state, volume, privileged)).collect()
}

fn weakest(state: &ClusterState, volume: &Volume, privileged: bool) -> Standing {
    let candidates = state.hosts().filter_map(|host| {
        let declared = &state.session(host.session?)?.declared;
        let cut = declared.drivers.get(&volume.spec.driver).copied()?;
        let ground = Ground { guard: declared.guard, cut, host: Some(host), privileged };
        let may = match volume.spec.takeover {
            Takeover::AfterExpiry => cut != Cut::None || volume.spec.coherent,
            Takeover::AfterFence => volume.spec.can_fence() || !host.spec.fence_agents.is_empty(),
            Takeover::Manual => true,
        };
        (may && ground.guard != Guard::None).then(|| on(volume.id.as_str(), &volume.spec, &ground))
    });
    candidates.min_by_key(|standing| standing.rung).unwrap_or_else(|| nowhere(volume.id.as_str(), Some(&volume.spec)))
}

fn nowhere(volume: &str, spec: Option<&VolumeSpec>) -> Standing {
    let needs = spec.map_or("", |spec| match spec.takeover {
        Takeover::AfterExpiry => " (after-expiry: a guard, and a driver that cuts late writes off or the statement coherent)",
        Takeover::AfterFence => " (after-fence: a storage that fences, or a fence agent of the host)",
        Takeover::Manual => " (manual: a guard)",
    });
    let rests_on = vec![format!("no host with a live executor meets what its takeover rule needs{needs}, so nobody can get it now")];
    Standing { volume: volume.to_owned(), rung: None, rests_on, cannot_hold: Vec::new() }
}

fn of_instance(ground: &Ground<'_>) -> Standing {
    let mut standing = Standing { rung: Some(guard_rung(ground.guard)), ..Standing::default() };
    standing.rests_on.push(guard_text(ground.guard).to_owned());
    standing.rests_on.push(CLOCKS.to_owned());
    by_clock(&mut standing.cannot_hold, ground);
    standing
}

fn on(volume: &str, spec: &VolumeSpec, ground: &Ground<'_>) -> Standing {
    let mut standing = Standing { volume: volume.to_owned(), rung: Some(rung(spec, ground)), ..Standing::default() };
    let Standing { rests_on, cannot_hold, .. } = &mut standing;
    match spec.takeover {
        Takeover::AfterExpiry => {
            rests_on.push(guard_text(ground.guard).to_owned());
            rests_on.push(format!(
                "takeover after-expiry: another host may start once the lease has run out and {} ms of lock delay are over; nobody acknowledges anything",
                spec.lock_delay_ms
            ));
            rests_on.push(CLOCKS.to_owned());
            dirty_pages(rests_on, cannot_hold, spec, ground.cut);
            by_clock(cannot_hold, ground);
        }
        Takeover::AfterFence => fenced(rests_on, cannot_hold, spec, ground),
        Takeover::Manual => {
            rests_on.push("takeover manual: a person confirms that the holder is dead, with name and reason in the log".to_owned());
            rests_on.push(guard_text(ground.guard).to_owned());
            cannot_hold.push("a mistake of that person: if the holder lives, it writes until it stops itself at its deadline".to_owned());
            dirty_pages(rests_on, cannot_hold, spec, ground.cut);
        }
    }
    standing
}

fn rung(spec: &VolumeSpec, ground: &Ground<'_>) -> u32 {
    match spec.takeover {
        Takeover::AfterExpiry | Takeover::Manual => guard_rung(ground.guard),
        // With both, either acknowledgement lets the next one in: it stands on the lower of the two.
        Takeover::AfterFence if spec.can_fence() => 5,
        Takeover::AfterFence if ground.host.is_some_and(|host| !host.spec.fence_agents.is_empty()) => 6,
        Takeover::AfterFence => 0,
    }
}

fn guard_rung(guard: Guard) -> u32 {
    match guard {
        Guard::None => 0,
        Guard::Executor => 1,
        Guard::Init => 2,
        Guard::HostProcess => 3,
        Guard::Watchdog => 4,
    }
}

const CLOCKS: &str = "clocks: those of its host and of the control nodes run at rates within 5 % of each other";

fn guard_text(guard: Guard) -> &'static str {
    match guard {
        Guard::None => "rung 0, no guard: nothing on the host stops the container at its deadline",
        Guard::Executor => "rung 1, guard executor (the weakest): the executor process itself kills the container at its deadline",
        Guard::Init => "rung 2, guard init: PID 1 of the instance exits at the deadline, without executor or engine",
        Guard::HostProcess => "rung 3, guard host process: a process apart from the executor kills, cuts and unmounts at the deadline",
        Guard::Watchdog => "rung 4, guard watchdog: the hardware resets the host if the guard fails",
    }
}

fn dirty_pages(rests_on: &mut Vec<String>, cannot_hold: &mut Vec<String>, spec: &VolumeSpec, cut: Cut) {
    match cut {
        Cut::FileSystemShutdown => rests_on.push("late writes of a dead holder are cut off by shutting its file system down".to_owned()),
        Cut::FuseAbort => rests_on.push("late writes of a dead holder are cut off by aborting its FUSE connection".to_owned()),
        Cut::ServerRevoke => rests_on.push("late writes of a dead holder are cut off by the storage server".to_owned()),
        Cut::None if spec.coherent => {
            rests_on.push(
                "its owner states it coherent: dirty pages of a dead holder cannot reach the data later; nobody checks that".to_owned(),
            );
            let wrong = "dirty pages, if that statement is wrong: the old host's kernel may write them over the new holder's data, for half a minute or more";
            cannot_hold.push(wrong.to_owned());
        }
        Cut::None => cannot_hold.push("dirty pages of a dead holder: nothing cuts them off".to_owned()),
    }
}

/// What no rule that rests on a clock of the host can hold.
fn by_clock(cannot_hold: &mut Vec<String>, ground: &Ground<'_>) {
    match ground.guard {
        Guard::None => cannot_hold.push("a holder that does not stop by itself".to_owned()),
        Guard::Executor => cannot_hold.push(
            "an executor that is killed, stopped or paused while its host is cut off: the container then writes past its deadline"
                .to_owned(),
        ),
        Guard::Init => {
            cannot_hold.push(
                "a guard that somebody stops from the host (SIGSTOP), and the first milliseconds after a frozen host thaws".to_owned(),
            );
        }
        Guard::HostProcess => {
            cannot_hold.push("the first milliseconds after a frozen host thaws, and a kernel that hangs in the cut".to_owned())
        }
        Guard::Watchdog => {}
    }
    if ground.privileged {
        cannot_hold.push("its own container: it is privileged, and can undo every guard of its host (an operator insisted)".to_owned());
    }
    cannot_hold.push("a paused virtual machine: its clock stands still, and it writes on when it goes on".to_owned());
    cannot_hold.push("a memory image that is restored under the same boot id".to_owned());
}

fn fenced(rests_on: &mut Vec<String>, cannot_hold: &mut Vec<String>, spec: &VolumeSpec, ground: &Ground<'_>) {
    let agents: Vec<&str> = ground.host.into_iter().flat_map(|host| &host.spec.fence_agents).map(|agent| agent.agent.as_str()).collect();
    if spec.can_fence() {
        rests_on.push(
            "rung 5, storage fence: the storage acknowledges that the old holder is cut off before anybody else is let in; rests on no clock".to_owned(),
        );
        let around = "a storage that acknowledges a cut that it does not carry out, and a way to the data around its access control";
        cannot_hold.push(around.to_owned());
        if spec.bars_host() {
            cannot_hold.push("a second machine with the storage address of that host".to_owned());
        }
    }
    if !agents.is_empty() {
        rests_on.push(format!("rung 6, power fence: {} must report the host off; rests on no clock", agents.join(", then ")));
        cannot_hold.push("a power controller that reports off for a host that is on".to_owned());
    }
    if spec.can_fence() || !agents.is_empty() {
        rests_on.push(
            "the holder need not stop on silence: where no fence action succeeds, the volume waits for it, or for `berth fence confirm`"
                .to_owned(),
        );
    } else {
        rests_on.push(
            "rung 0: neither storage nor power can fence its host now; only `berth fence confirm` ends the lease of a silent holder"
                .to_owned(),
        );
    }
}
