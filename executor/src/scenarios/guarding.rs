//! Deadline pages, as guards see them: while all is well, under silence, after the loss of a right, across restarts (L9, L11, I12).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_guard::page::{Deadline, Owner, PageReader, PageWriter};
use berth_state::command::{Order, UpdateHost};
use berth_state::ids::{BootId, HostId, Token};
use berth_state::noun::host::FenceAgent;
use berth_state::noun::secrets::Secrets;
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};

use crate::ledger;
use crate::testing::control::Mode;
use crate::testing::rig::{HOLD, Rig, eventually, never};
use crate::testing::{lease, with_volume};

fn page_path(rig: &Rig, token: Token) -> PathBuf {
    rig.data.path().join("run/leases").join(token.0.to_string()).join("page")
}

/// A rig in this machine's real boot: a guard's reader wants that.
fn rig() -> Rig {
    Rig { boot: ledger::boot_id().unwrap(), ..Rig::new() }
}

fn writer(rig: &Rig, token: Token) -> PageWriter {
    let BootId(boot_id) = rig.boot;
    PageWriter::open(&page_path(rig, token), &Owner { boot_id, ..Owner::here(token.0).unwrap() }).unwrap()
}

/// On a host that can be switched off: else nobody may be granted such a volume.
fn after_fence(rig: &Rig, container: &str, volume: &str) {
    let host = HostId::new("h1").unwrap();
    let (version, mut spec) = rig.control.state(|state| state.host(&host).map(|host| (host.version, host.spec.clone())).unwrap());
    let agent = "fence_test".to_owned();
    spec.fence_agents.push(FenceAgent { agent, options: BTreeMap::new(), secrets: Secrets::default(), timeout_ms: 10_000 });
    rig.control.must(Order::UpdateHost(UpdateHost { host, version, spec }));
    let path = rig.data.path().join(volume);
    std::fs::create_dir_all(&path).unwrap();
    let options = BTreeMap::from([("path".to_owned(), path.to_str().unwrap().to_owned())]);
    let spec = VolumeSpec { driver: Driver::Path, options, takeover: Takeover::AfterFence, coherent: true, lock_delay_ms: 0 };
    rig.control.add_volume(volume, spec);
    rig.control.add_container(container, with_volume(lease(1), volume, Path::new("/unused")).spec);
}

#[tokio::test]
async fn a_page_has_the_deadline_of_each_renewal_and_goes_with_its_lease() {
    let rig = rig();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    let page = PageReader::open(&page_path(&rig, token), token.0).unwrap();
    let Deadline::At(first) = page.deadline() else { panic!("{:?}", page.deadline()) };
    rig.clock.advance_ms(100);
    eventually("the page is renewed", || page.deadline() > Deadline::At(first)).await;
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD);
    eventually("the page is over", || page.deadline() == Deadline::Over).await;
    rig.control.set(Mode::Answer);
    rig.ended(token).await;
    eventually("the folder is gone", || !page_path(&rig, token).exists()).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_of_fenced_storage_runs_on_in_silence_and_stops_at_once_on_a_word() {
    let rig = rig();
    after_fence(&rig, "db", "v1");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    let page = PageReader::open(&page_path(&rig, token), token.0).unwrap();
    assert_eq!(page.deadline(), Deadline::None);
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(100 * HOLD);
    never("stopped on silence", || rig.machine.running().is_empty() || page.deadline() != Deadline::None).await;
    // And a restart takes no end from nowhere.
    executor.stop().await.unwrap();
    rig.clock.advance_ms(HOLD);
    let executor = rig.start().await;
    never("stopped by the restart", || rig.machine.running().is_empty() || page.deadline() != Deadline::None).await;
    rig.control.set(Mode::Answer);
    eventually("a session", || executor.handle.session().is_some()).await;
    rig.control.revoke(token);
    rig.control.close(token);
    rig.nothing_runs().await;
    eventually("the page is over", || page.deadline() == Deadline::Over).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_restart_the_page_is_the_truth() {
    let rig = rig();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.control.set(Mode::Silent);
    executor.stop().await.unwrap();
    // Earlier than what the ledger says: the host-side guard, say, has lowered it.
    writer(&rig, token).store(Deadline::Over);
    let executor = rig.start().await;
    rig.nothing_runs().await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn without_its_page_a_running_instance_is_killed_by_the_next_executor() {
    let rig = rig();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    executor.stop().await.unwrap();
    std::fs::remove_file(page_path(&rig, token)).unwrap();
    let executor = rig.start().await;
    rig.nothing_runs().await;
    rig.ended(token).await;
    executor.stop().await.unwrap();
}
