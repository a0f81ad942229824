//! Each exit code by a case that a user meets, with the text that says what to do.

use crate::fake::{CLUSTER, Fake, Mood};
use crate::run::{berth, command, end};
use crate::world::small;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_ends_with_0_and_talks_on_stderr_only() {
    let fake = small().await;
    let ended = berth(fake.address, &["host", "cordon", "h2"]).await.must(0, &["host h2 takes no new containers", "revision"]);
    assert_eq!(ended.stdout, "");
    let again = berth(fake.address, &["host", "cordon", "h2", "-o", "json"]).await.json();
    assert_eq!(again["made"], "unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_bad_values_end_with_1() {
    let fake = small().await;
    berth(fake.address, &["host", "add", "h1"]).await.must(1, &["refused: host h1 exists", "berth host update"]);
    berth(fake.address, &["volume", "add", "w", "--path", "relative"]).await.must(1, &["options.path"]);
    berth(fake.address, &["volume", "add", "w", "--path", "/w"]).await.must(1, &["state --coherent"]);
    fake.next([Mood::Foreign]);
    berth(fake.address, &["ps"]).await.must(1, &["a reason of the future"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_command_lines_end_with_2_and_send_nothing() {
    let fake = small().await;
    let before = fake.with().calls.len();
    let table: [&[&str]; 16] = [
        &[],
        &["no-such-command"],
        &["container", "add"],
        &["container", "add", "c"],
        &["container", "add", "c", "--runtime", "process"],
        &["container", "add", "Ä", "--image", "i"],
        &["container", "add", "c", "--image", "i", "--publish", "80"],
        &["container", "add", "c", "--image", "i", "--memory", "1x"],
        &["container", "add", "c", "--image", "i", "--health-retries", "3"],
        &["container", "add", "c", "--image", "i", "--env-file", "/no/such/file"],
        &["container", "start", "c", "--wait-timeout", "1s"],
        &["settings", "set"],
        &["ps", "--timeout", "5"],
        &["ps", "--endpoints", "http://x:1"],
        &["ps", "--cluster-id", "12"],
        &["fence", "confirm", "h1", "--reason", " "],
    ];
    for args in table {
        let ended = berth(fake.address, args).await;
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{args:?}: {ended:?}");
    }
    assert_eq!(fake.with().calls.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_end_with_3_on_reads_and_writes() {
    let fake = small().await;
    let table: [&[&str]; 15] = [
        &["host", "show", "h9"],
        &["host", "update", "h9", "--address", "a"],
        &["host", "rm", "h9"],
        &["host", "drain", "h9"],
        &["volume", "show", "h1"],
        &["volume", "rm", "w"],
        &["container", "show", "c"],
        &["container", "start", "c"],
        &["container", "restart", "c", "--wait"],
        &["lease", "show", "9999"],
        &["lease", "revoke", "idle"],
        &["fence", "show", "9999"],
        &["fence", "confirm", "h2", "--reason", "burnt"],
        &["event", "show", "9999"],
        &["why", "nothing"],
    ];
    for args in table {
        let ended = berth(fake.address, args).await;
        assert_eq!(ended.code, 3, "{args:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && ended.stderr.starts_with("berth: "), "{args:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lease_holds_ends_with_4() {
    let fake = small().await;
    berth(fake.address, &["container", "rm", "db"]).await.must(4, &["container db holds a lease on host h1"]);
    berth(fake.address, &["host", "rm", "h1"]).await.must(4, &["drain the host first"]);
    let lease = fake.with().lease_of("db");
    let wrong = format!("{}/{}", lease.id, lease.token.0 + 7);
    berth(fake.address, &["lease", "revoke", &wrong]).await.must(4, &["has token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_quorum_ends_with_5_for_reads_and_writes() {
    let fake = small().await;
    fake.mood(Mood::NoQuorum);
    berth(fake.address, &["ps", "--timeout", "500ms"]).await.must(5, &["no quorum", "two of three are gone", "--stale"]);
    berth(fake.address, &["host", "cordon", "h1", "--timeout", "500ms"]).await.must(5, &["nothing was written"]);
    // A follower that knows no leader.
    fake.mood(Mood::NotLeader(None));
    berth(fake.address, &["ps", "--timeout", "500ms"]).await.must(5, &["no node leads"]);
    // One node's own copy can still be read.
    berth(fake.address, &["ps", "--stale"]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_ends_with_5_and_says_who_was_asked() {
    let told = ["no server is reachable", "127.0.0.1:1: ", "BERTH_ENDPOINTS"];
    berth("127.0.0.1:1", &["ps"]).await.must(5, &told);
    berth("127.0.0.1:1", &["host", "cordon", "h1"]).await.must(5, &told);
    berth("127.0.0.1:1", &["status"]).await.must(5, &told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_ends_with_6_and_the_printed_command_tells_the_outcome() {
    let fake = small().await;
    fake.mood(Mood::DoneAndLost);
    let args = ["container", "update", "db", "--env", "A=it's", "--timeout", "500ms"];
    // The read before the write comes through.
    let ended = {
        let home = tempfile::tempdir().unwrap();
        let mut command = command(home.path(), &args);
        command.env("BERTH_ENDPOINTS", fake.address.to_string());
        end(command).await
    };
    let ended = ended.must(6, &["outcome unknown", "request id", "--request-id", "--version 1"]);
    let (ids, done) = {
        let inner = fake.with();
        let ids: std::collections::BTreeSet<_> = inner.writes.iter().map(|w| w.request_id.clone()).collect();
        let updates = inner.events.iter().filter(|e| e.fact.kind() == "ContainerUpdated").count();
        (ids, updates)
    };
    assert_eq!((ids.len(), done), (1, 1), "one id, done once: {ended:?}");

    // The very line that was printed, run by a shell, gives the first answer.
    fake.with().always = None;
    let line = ended.stderr.lines().last().unwrap().trim().to_owned();
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &line]).env_clear().env("BERTH_ENDPOINTS", fake.address.to_string()).env("HOME", "/nowhere");
    end(shell).await.must(0, &["container db updated", "version 2"]);
    let inner = fake.with();
    assert_eq!(inner.events.iter().filter(|e| e.fact.kind() == "ContainerUpdated").count(), 1);
    let first = &inner.writes[0].request_id;
    assert!(inner.writes.iter().all(|w| w.request_id == *first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_nobody_answered_ends_with_6_too() {
    let fake = small().await;
    fake.mood(Mood::Silent);
    berth(fake.address, &["host", "cordon", "h1", "--timeout", "300ms"]).await.must(6, &["did not answer in time"]);
    // A read has no outcome to be unknown.
    berth(fake.address, &["ps", "--timeout", "300ms"]).await.must(1, &["no answer within 300ms"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_not_forgotten_over_a_later_refusal() {
    let fake = small().await;
    fake.next([Mood::Lost]);
    fake.mood(Mood::NoQuorum);
    berth(fake.address, &["host", "cordon", "h1", "--timeout", "500ms"]).await.must(6, &["outcome unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_server_ends_with_1_and_names_both() {
    let fake = small().await;
    let other = "ab".repeat(16);
    let told = [CLUSTER.to_string(), other.clone(), "--cluster-id".to_owned()];
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    for args in [["ps"].as_slice(), &["host", "cordon", "h1"], &["status"], &["events", "-f"]] {
        let args: Vec<&str> = args.iter().copied().chain(["--cluster-id", &other]).collect();
        berth(fake.address, &args).await.must(1, &told);
    }
    berth(fake.address, &["ps", "--cluster-id", &CLUSTER.to_string()]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_and_the_docs_have_the_same_exit_codes() {
    let help = berth("127.0.0.1:1", &["help", "exit-codes"]).await.must(0, &[]);
    let own = berth("127.0.0.1:1", &["exit-codes"]).await.must(0, &[]);
    let docs = include_str!("../../../docs/operations.md");
    let mut codes = Vec::new();
    for line in docs.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")) {
        let Some((code, meaning)) = line.split_once(" | ") else { continue };
        if code.parse::<u8>().is_ok() {
            codes.push(code.to_owned());
            for printed in [&help.stdout, &own.stdout] {
                // The help is wrapped to the width of the terminal.
                let words: Vec<&str> = printed.split_whitespace().collect();
                let row = format!(" {code} {meaning} ");
                assert!(words.join(" ").contains(&row), "{row:?} is missing in\n{printed}");
            }
        }
    }
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "7", "124"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_is_waited_out_and_then_said() {
    let fake = Fake::start().await;
    fake.with().begin();
    fake.next([Mood::Busy, Mood::Busy]);
    berth(fake.address, &["host", "add", "h1"]).await.must(0, &["host h1 added"]);
    fake.mood(Mood::Busy);
    berth(fake.address, &["host", "add", "h2", "--timeout", "300ms"]).await.must(1, &["too much in flight", "nothing was written"]);
}
