//! Streams: events followed over broken streams without gap or duplicate, limits, logs, and readers that go away.

use std::process::Stdio;

use berth_state::Order;
use berth_state::codec::Wire;
use berth_state::command::SetScheduling;
use berth_state::noun::host::Scheduling;
use berth_state::pb::api::{self, watch_response::Item};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::fake::{Fake, Mood};
use crate::run::{berth, command};
use crate::world::{host, small};

/// Changes something `count` times.
fn happen(fake: &Fake, count: usize) {
    let mut inner = fake.with();
    for i in 0..count {
        let scheduling = if i % 2 == 0 { Scheduling::Cordoned } else { Scheduling::Open };
        inner.must(Order::SetScheduling(SetScheduling { host: host("h2"), scheduling }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn following_resumes_after_a_broken_stream_without_gap_or_duplicate() {
    let fake = small().await;
    happen(&fake, 6);
    let (from, items) = {
        let inner = fake.with();
        let last: Vec<_> = inner.events[inner.events.len() - 6..].to_vec();
        let batch = |range: &[berth_state::Event]| {
            Item::Events(api::EventBatch { events: range.iter().map(Wire::to_pb).collect(), ..Default::default() })
        };
        let progress = Item::ProgressRevision(last[3].revision.0);
        // The first stream breaks after two, the second after a third and word of progress.
        (last[0].revision.0 - 1, [vec![batch(&last[..2])], vec![batch(&last[2..4]), progress]])
    };
    fake.with().watches.extend(items);
    let ended = berth(fake.address, &["events", "-f", "--since", &from.to_string(), "--limit", "6", "-o", "json"])
        .await
        .must(0, &["going on elsewhere"]);
    let revisions: Vec<u64> = ended.lines().iter().map(|e| e["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, (from + 1..=from + 6).collect::<Vec<_>>());
    assert_eq!(fake.with().watched_after, [from, from + 2, from + 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_history_ends_the_stream_with_an_error() {
    let fake = small().await;
    happen(&fake, 4);
    let streams = {
        let inner = fake.with();
        let last: Vec<_> = inner.events[inner.events.len() - 4..].to_vec();
        let batch = |range: &[berth_state::Event], before: u8, after: u8| {
            let events = range.iter().map(Wire::to_pb).collect();
            Item::Events(api::EventBatch { events, hash_before: vec![before; 32], hash_after: vec![after; 32], ..Default::default() })
        };
        // The second node's next event follows on another one than the first node's last.
        [vec![batch(&last[..1], 1, 2), batch(&last[1..2], 2, 3)], vec![batch(&last[2..], 9, 4)]]
    };
    fake.with().watches.extend(streams);
    let ended = berth(fake.address, &["events", "-f", "--since", "3", "--limit", "4", "-o", "json"]).await;
    let ended = ended.must(1, &["does not go on where the one before it ended"]);
    assert_eq!(ended.lines().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn following_since_0_begins_with_the_first_event() {
    let fake = small().await;
    let count = fake.with().events.len().to_string();
    let ended = berth(fake.address, &["events", "-f", "--since", "0", "--limit", &count, "-o", "json"]).await.must(0, &[]);
    assert_eq!(ended.lines().len().to_string(), count);
    assert_eq!(ended.lines()[0]["kind"], "ClusterInitialized");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_without_since_shows_only_what_is_new() {
    let fake = small().await;
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path(), &["events", "-f", "--limit", "1", "-o", "json"]);
    command.env("BERTH_ENDPOINTS", fake.address.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // It has the full set, and so its place, once the second watch has come.
    for _ in 0..3_000 {
        if fake.with().watched_after.len() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(fake.with().watched_after.len() >= 2, "it never watched");
    happen(&fake, 1);
    let output = child.wait_with_output().await.unwrap();
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["kind"], "HostSchedulingChanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_never_splits_a_revision_and_since_leaves_out_what_is_known() {
    let fake = small().await;
    happen(&fake, 4);
    let all = berth(fake.address, &["events", "-o", "json"]).await.json();
    let last = all.as_array().unwrap().last().unwrap()["revision"].as_u64().unwrap();
    let some = berth(fake.address, &["events", "--since", &(last - 3).to_string(), "--limit", "2", "-o", "json"]).await.json();
    let revisions: Vec<_> = some.as_array().unwrap().iter().map(|e| e["revision"].clone()).collect();
    assert_eq!(revisions, [json!(last - 2), json!(last - 1)]);
    assert_eq!(berth(fake.address, &["events", "--limit", "0", "-o", "json"]).await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_5_when_no_node_is_left() {
    let fake = small().await;
    let address = fake.address;
    fake.with().watches.push_back(vec![]);
    fake.mood(Mood::NoQuorum);
    berth(address, &["events", "-f", "--since", "3", "--timeout", "300ms"]).await.must(5, &["no quorum"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let fake = small().await;
    // More than a pipe holds, so that writing must meet the closed end.
    happen(&fake, 4_000);
    for args in [&["events", "-o", "json"][..], &["events"], &["events", "-f", "--since", "0"]] {
        let home = tempfile::tempdir().unwrap();
        let mut command = command(home.path(), args);
        command.env("BERTH_ENDPOINTS", fake.address.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next_line().await.unwrap().is_some());
        drop(lines);
        let output = child.wait_with_output().await.unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_cannot_be_written_is_an_error() {
    let fake = small().await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path(), &["ps"]);
    command.env("BERTH_ENDPOINTS", fake.address.to_string()).stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write the output: No space left"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_keep_the_containers_two_streams_apart() {
    let fake = small().await;
    let chunk = |stderr, text: &str| api::LogsResponse { stderr, data: text.as_bytes().to_vec() };
    fake.with().logs = vec![chunk(false, "out 1\n"), chunk(true, "err 1\n"), chunk(false, "out 2\n")];
    let ended = berth(fake.address, &["logs", "db", "--tail", "3"]).await.must(0, &[]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out 1\nout 2\n", "err 1\n"));
    let ended = berth(fake.address, &["logs", "db", "-o", "json"]).await.must(0, &[]);
    assert_eq!(ended.lines()[1], json!({ "stream": "stderr", "data": "err 1\n" }));
    assert_eq!(ended.lines().len(), 3);
}
