//! Who is fenced when, by a manual clock over a state that is driven by orders; and a real fence agent where the package is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

#[path = "../../state/tests/world/mod.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use berth_raft::clock::RawTime;
use berth_raft::fencing::agent::power_off;
use berth_raft::fencing::run::Finished;
use berth_raft::fencing::{metadata, program};
use berth_raft::leader::fencing::{self, Asker, Memory};
use berth_raft::leader::notes::Notes;
use berth_state::Order;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::{FenceAgent, HostSpec};
use berth_state::noun::secrets::Secrets;
use berth_state::noun::volume::*;
use berth_state::state::ObjectKey;
use world::*;

const NODE: NodeId = NodeId(1);

struct Leader {
    w: World,
    notes: Notes,
    memory: Memory,
    ready: RawTime,
    now: RawTime,
}

impl Leader {
    /// A power-fenced after-fence holder on h1.
    fn with_holder() -> (Self, (LeaseId, Token)) {
        let mut w = World::small();
        let spec = VolumeSpec { takeover: Takeover::AfterFence, coherent: false, ..path_volume("/data/pg") };
        w.done(Order::UpdateVolume(UpdateVolume { volume: volume("pg"), version: Version(1), spec }));
        let held = w.running("db", "h1");
        let mut leader = Self { w, notes: Notes::default(), memory: Memory::default(), ready: RawTime(1), now: RawTime(1) };
        leader.note();
        // Ready for long.
        leader.pass(10_000);
        leader.hear("h1");
        (leader, held)
    }

    fn note(&mut self) {
        let keys = (1..=400).flat_map(|n| {
            [ObjectKey::Lease(LeaseId(n)), ObjectKey::Renewal(Token(n)), ObjectKey::Pulse(SessionId(n)), ObjectKey::Fence(Token(n))]
        });
        let keys: BTreeSet<_> = keys.chain(["h1", "h2"].map(|h| ObjectKey::Host(host(h)))).collect();
        self.notes.refresh(&self.w.state, &keys, self.now);
    }

    fn due(&self) -> Vec<Order> {
        fencing::due(&self.w.state, &self.notes, &self.memory, Asker { node: NODE, ready: self.ready, now: self.now }).orders
    }

    /// A keepalive of all leases of a host.
    fn hear(&mut self, name: &str) {
        let tokens: Vec<Token> = self.w.state.leases_of_host(&host(name)).map(|lease| lease.token).collect();
        let session = self.w.session(name);
        self.w.keepalive(session, &tokens);
        self.note();
    }

    /// This node now leads where another did: no memory, and nothing was heard by anybody for `silent_ms` before.
    fn takes_over(&mut self, silent_ms: u64) {
        self.pass(silent_ms);
        self.memory = Memory::default();
        self.ready = self.now;
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// Does all that is due; returns the attempt that was begun.
    fn turn(&mut self) -> Option<Revision> {
        let mut begun = None;
        for order in self.due() {
            let begins = matches!(order, Order::BeginFenceAttempt(_));
            self.w.order(order);
            if begins {
                begun = Some(Revision(self.w.index));
                self.memory.running.insert(Revision(self.w.index));
            }
        }
        self.note();
        begun
    }

    fn finish(&mut self, attempt: Revision, ok: bool) {
        let work = fencing::work(&self.w.state, &host("h1"), attempt).expect("an open attempt");
        self.memory.running.remove(&attempt);
        let done = Finished { attempt, host: work.host, method: work.method, ok, output: "said".to_owned(), tokens: work.tokens };
        self.memory.finished.insert(attempt, done);
        self.turn();
        fencing::forget(&self.w.state, &mut self.memory);
        if ok {
            // What is acknowledged is in the log now: the evidence follows.
            self.turn();
        }
    }
}

#[test]
fn a_silent_after_fence_holder_is_fenced_at_once_and_not_before_its_time() {
    let (mut leader, (lease, token)) = Leader::with_holder();
    leader.pass(1_999);
    assert_eq!(leader.due(), []);
    leader.pass(1);
    assert!(matches!(&leader.due()[..], [Order::StartFence(s)] if s.token == token && s.method == FenceMethod::PowerOff));
    leader.turn();
    let attempt = leader.turn().expect("an attempt");
    assert_eq!(leader.due(), [], "one at a time, and no evidence before its end");
    leader.finish(attempt, true);
    assert_eq!(leader.w.phase(lease), None);
    assert!(leader.memory.finished.is_empty(), "all is in the log");
}

#[test]
fn a_healthy_holder_is_not_fenced_for_the_silence_of_an_election() {
    let (mut leader, _) = Leader::with_holder();
    leader.takes_over(30_000);
    for _ in 0..15 {
        assert_eq!(leader.turn(), None);
        leader.pass(100);
    }
    leader.hear("h1");
    for _ in 0..19 {
        leader.pass(100);
        leader.hear("h1");
        leader.turn();
    }
    assert_eq!(leader.w.state.fences().count(), 0);
}

#[test]
fn a_holder_that_stays_silent_is_fenced_twice_the_time_after_a_new_leader_is_ready() {
    let (mut leader, (_, token)) = Leader::with_holder();
    leader.takes_over(30_000);
    leader.pass(3_999);
    assert_eq!(leader.due(), []);
    leader.pass(1);
    assert!(matches!(&leader.due()[..], [Order::StartFence(s)] if s.token == token));
}

#[test]
fn a_holder_that_was_heard_of_since_is_not_fenced() {
    let (mut leader, (_, token)) = Leader::with_holder();
    leader.pass(2_000);
    let late = leader.due().remove(0);
    let session = leader.w.session("h1");
    leader.w.keepalive(session, &[token]);
    leader.w.refused(late);
    leader.note();
    assert_eq!(leader.due(), []);
}

#[test]
fn a_fence_that_failed_is_tried_again_with_back_off_and_then_ends_the_lease() {
    let (mut leader, (lease, _)) = Leader::with_holder();
    leader.pass(2_000);
    leader.turn();
    for wait in [1_000, 2_000] {
        let attempt = leader.turn().expect("an attempt");
        leader.finish(attempt, false);
        leader.pass(wait - 1);
        assert_eq!(leader.turn(), None, "{wait} ms are not over");
        assert!(leader.w.phase(lease).is_some(), "a failure is no evidence");
        leader.pass(1);
    }
    let attempt = leader.turn().expect("the third");
    leader.finish(attempt, true);
    assert_eq!(leader.w.phase(lease), None);
}

#[test]
fn an_attempt_of_another_leader_is_given_up_only_after_its_time_by_our_own_note() {
    let (mut leader, _) = Leader::with_holder();
    leader.pass(2_000);
    leader.turn();
    leader.turn().expect("an attempt");
    // Another node leads now: no memory, fresh notes.
    leader.memory = Memory::default();
    leader.notes = Notes::default();
    leader.note();
    leader.pass(42_499);
    assert!(!leader.due().iter().any(|o| matches!(o, Order::EndFenceAttempt(_) | Order::BeginFenceAttempt(_))));
    leader.pass(1);
    assert!(leader.due().iter().any(|o| matches!(o, Order::EndFenceAttempt(e) if !e.ok)));
}

#[tokio::test]
async fn a_real_agent_of_the_package_turns_a_host_off() {
    if program::find("fence_dummy").is_none() {
        println!("skipped: no fence_dummy (Debian package fence-agents)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("status");
    std::fs::write(&file, "on").unwrap();
    let options = [("type", "file".to_owned()), ("status_file", file.to_str().unwrap().to_owned())];
    let options: BTreeMap<_, _> = options.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let agent = FenceAgent { agent: "fence_dummy".to_owned(), options, secrets: Secrets::default(), timeout_ms: 20_000 };
    power_off(&agent).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "off");
}

#[tokio::test]
async fn an_agent_that_only_says_off_is_not_believed_and_its_secret_is_not_shown() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fence_liar");
    std::fs::write(&file, "#!/bin/sh\ncat\nexit 0\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let secrets = Secrets(BTreeMap::from([("passwd".to_owned(), "hunter22".to_owned())]));
    let agent = FenceAgent { agent: file.to_str().unwrap().to_owned(), options: BTreeMap::new(), secrets, timeout_ms: 5_000 };
    let why = power_off(&agent).await.unwrap_err();
    assert!(why.contains("status") && !why.contains("hunter22"), "{why}");
}

fn dummy(name: &str) -> FenceAgent {
    FenceAgent { agent: name.to_owned(), options: BTreeMap::new(), secrets: Secrets::default(), timeout_ms: 5_000 }
}

#[tokio::test]
async fn an_agent_that_is_not_installed_is_refused_with_the_package_that_has_it() {
    let why = metadata::check(&dummy("fence_of_nobody")).await.unwrap_err();
    assert!(why.contains("fence_of_nobody is not installed") && why.contains("Debian package fence-agents"), "{why}");
}

#[tokio::test]
async fn a_real_agent_of_the_package_is_found_by_its_metadata() {
    if program::find("fence_dummy").is_none() {
        println!("skipped: no fence_dummy (Debian package fence-agents)");
        return;
    }
    metadata::check(&dummy("fence_dummy")).await.unwrap();
}

#[tokio::test]
async fn an_agent_is_asked_for_its_metadata_only_and_what_it_lacks_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fence_plug");
    let xml = r#"<resource-agent name="fence_plug"><parameters><parameter name="plug" required="1"/></parameters></resource-agent>"#;
    let script = format!("#!/bin/sh\ncat >> {}/asked\necho '{xml}'\n", dir.path().display());
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = dummy(file.to_str().unwrap());
    let why = metadata::check(&agent).await.unwrap_err();
    assert!(why.contains("needs the option plug"), "{why}");
    agent.secrets.0.insert("plug".to_owned(), "7".to_owned());
    metadata::check(&agent).await.unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("asked")).unwrap(), "action=metadata\naction=metadata\n");
}

#[test]
fn an_agent_that_the_host_has_already_is_not_looked_at_again() {
    let w = World::small();
    let (host, version) = (host("h1"), Version(1));
    let mut spec = powered();
    let order = |spec: &HostSpec| Order::UpdateHost(UpdateHost { host: host.clone(), version, spec: spec.clone() });
    assert_eq!(metadata::new_agents(&w.state, &order(&spec)), []);
    spec.fence_agents[0].options.insert("plug".to_owned(), "7".to_owned());
    assert_eq!(metadata::new_agents(&w.state, &order(&spec)).len(), 1);
}
