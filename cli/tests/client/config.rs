//! Where settings come from: flags over environment over file.

use std::fs;

use crate::run::{Ended, command, end};
use crate::world::small;

const NOBODY: &str = "127.0.0.1:1";

/// A home folder with this configuration file.
fn home(toml: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/berth");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), toml).unwrap();
    home
}

async fn with(toml: &str, environment: &[(&str, &str)], args: &[&str]) -> Ended {
    let home = home(toml);
    let mut command = command(home.path(), args);
    command.envs(environment.iter().copied());
    end(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_win_over_environment_and_that_over_the_file() {
    let fake = small().await;
    let good = fake.address.to_string();
    let file = |endpoint: &str| format!("endpoints = [\"{endpoint}\"]\n");
    with(&file(&good), &[], &["ps"]).await.must(0, &[]);
    with(&file(NOBODY), &[], &["ps"]).await.must(5, &[]);
    with(&file(NOBODY), &[("BERTH_ENDPOINTS", &good)], &["ps"]).await.must(0, &[]);
    with(&file(&good), &[("BERTH_ENDPOINTS", NOBODY)], &["ps"]).await.must(5, &[]);
    with(&file(NOBODY), &[("BERTH_ENDPOINTS", NOBODY)], &["ps", "--endpoints", &good]).await.must(0, &[]);
    with(&file(&good), &[("BERTH_ENDPOINTS", &good)], &["--endpoints", NOBODY, "ps"]).await.must(5, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_can_stand_in_the_file() {
    let fake = small().await;
    let (address, other) = (fake.address, "ab".repeat(16));
    let toml = format!("endpoints = \"{NOBODY}, {address}\"\noutput = \"json\"\ntimeout = \"20s\"\n");
    let ps = with(&toml, &[], &["ps"]).await.json();
    assert_eq!(ps[0]["container"], "db");
    let table = with(&toml, &[("BERTH_OUTPUT", "table")], &["ps"]).await.must(0, &[]);
    assert!(table.stdout.starts_with("CONTAINER"), "{table:?}");
    let toml = format!("endpoints = [\"{address}\"]\ncluster-id = \"{other}\"\n");
    with(&toml, &[], &["ps"]).await.must(1, &["belongs to cluster"]);
    with(&toml, &[("BERTH_CLUSTER_ID", &"c1".repeat(16))], &["ps"]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_ends_with_2_and_names_itself() {
    for toml in ["endpoint = [\"a:1\"]", "endpoints = [\"a\"]", "timeout = \"5\"", "output = \"yaml\"", "cluster-id = \"1\"", "= ="] {
        with(toml, &[], &["ps"]).await.must(2, &["config.toml"]);
    }
    with("", &[], &["ps", "--config", "/no/such.toml"]).await.must(2, &["/no/such.toml"]);
    with("", &[("BERTH_CONFIG", "/no/such.toml")], &["ps"]).await.must(2, &["/no/such.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_setting_the_default_address_is_asked() {
    let ended = with("", &[], &["ps", "--timeout", "300ms"]).await;
    // Whether somebody listens there is not this test's to say.
    assert!(ended.code == 0 || ended.stderr.contains("127.0.0.1:7400"), "{ended:?}");
}
