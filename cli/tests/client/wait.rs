//! `--wait`: reached, timed out (124), hopeless, and ridden out through an election. The world goes on between the client's looks.

use berth_state::noun::lease::InstanceState;

use crate::fake::Mood;
use crate::run::berth;
use crate::world::small;

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_not_reached_ends_with_124_and_says_what_is_the_case() {
    let fake = small().await;
    let told = ["waited 300ms for container idle to run", "now: pending", "was accepted"];
    berth(fake.address, &["container", "start", "idle", "--wait", "--wait-timeout", "300ms"]).await.must(124, &told);
    let told = ["host h1 to hold no lease", "it still holds db (active)"];
    berth(fake.address, &["host", "drain", "h1", "--wait", "--wait-timeout", "300ms"]).await.must(124, &told);
    berth(fake.address, &["container", "stop", "db", "--wait", "--wait-timeout", "300ms"])
        .await
        .must(124, &["container db to hold no lease", "on host h1"]);
    // Without --wait nobody waits.
    berth(fake.address, &["container", "start", "idle"]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_the_state_is_reached() {
    let fake = small().await;
    let release = fake.with().release_order("db");
    fake.with().before_reads.extend([vec![], vec![release]]);
    berth(fake.address, &["container", "stop", "db", "--wait"]).await.must(0, &[]);
    // Two looks were not enough to see it; the third came after the release.
    assert!(fake.with().calls.iter().filter(|c| **c == "read").count() >= 2);

    fake.with().run_on("idle", "h2");
    berth(fake.address, &["container", "start", "idle", "--wait"]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_not_reached_by_the_instance_that_runs_already() {
    let fake = small().await;
    let args = ["container", "restart", "db", "--wait", "--wait-timeout", "400ms"];
    berth(fake.address, &args).await.must(124, &["container db to run"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_not_running_is_not_reached() {
    let fake = small().await;
    let order = fake.with().observed("db", InstanceState::BackOff, "exit code 1");
    fake.with().must(order);
    let args = ["container", "start", "db", "--wait", "--wait-timeout", "300ms"];
    berth(fake.address, &args).await.must(124, &["now: back-off on host h1", "exit code 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_rides_out_an_election() {
    let fake = small().await;
    fake.with().run_on("idle", "h2");
    // Longer than one look may take (three tries in 250 ms), so that looks fail, and not only tries within one.
    fake.with().read_moods.extend(vec![Mood::NoQuorum; 7]);
    berth(fake.address, &["container", "start", "idle", "--timeout", "250ms", "--wait"]).await.must(0, &[]);
    assert!(fake.with().read_moods.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_removed_meanwhile_ends_the_wait_with_3() {
    let fake = small().await;
    use berth_state::Order;
    use berth_state::command::RemoveContainer;
    let remove = Order::RemoveContainer(RemoveContainer { container: crate::world::container("idle") });
    fake.with().before_reads.extend([vec![], vec![remove]]);
    berth(fake.address, &["container", "start", "idle", "--wait"]).await.must(3, &["no container idle"]);
}
