//! The volume plugin over its real socket, on the fake control plane and an engine that only lists what it is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use berth_state::ids::Token;
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::external::ExternalConfig;
use crate::plugin::server;
use crate::testing::control::Mode;
use crate::testing::rig::{Rig, Running, eventually};

/// Containers as the engine lists them; `None`: it says nothing of use.
#[derive(Clone)]
struct FakeEngine(Arc<Mutex<Option<Vec<Value>>>>);

#[async_trait]
impl Handler for FakeEngine {
    async fn call(&self, call: &str, _: Bytes) -> Value {
        if call.ends_with("version") {
            json!({ "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24" })
        } else if call.ends_with("containers/json") {
            self.0.lock().unwrap().clone().map_or(json!({ "message": "broken" }), |all| json!(all))
        } else {
            json!({})
        }
    }
}

const ID: &str = "ef59b742f17d66cb0edc1292a76abd542cbd7fd57c0aaab5c9ab6461604deedc";

impl FakeEngine {
    fn lists(&self, state: &str) {
        let mounts = json!([{ "Type": "volume", "Name": "pg", "Source": "/x", "Destination": "/data", "Driver": "berth" }]);
        *self.0.lock().unwrap() = Some(vec![json!({ "Id": ID, "Names": ["/x"], "State": state, "Mounts": mounts })]);
    }

    fn lists_nothing(&self) {
        *self.0.lock().unwrap() = Some(vec![]);
    }
}

struct Bench {
    rig: Rig,
    engine: FakeEngine,
    socket: PathBuf,
}

impl Bench {
    /// With a registered volume `pg`.
    async fn new() -> (Self, Running) {
        Self::on(Rig::new()).await
    }

    async fn on(mut rig: Rig) -> (Self, Running) {
        let (plugins, docker) = (rig.data.path().join("plugins"), rig.data.path().join("docker.sock"));
        let engine = FakeEngine(Arc::new(Mutex::new(Some(vec![]))));
        tokio::spawn(server::serve(tokio::net::UnixListener::bind(&docker).unwrap(), Arc::new(engine.clone())));
        rig.docker_socket = Some(docker);
        rig.external = ExternalConfig { local: true, docker_plugins: Some(plugins.clone()), docker_authz: true };
        let path = rig.data.path().join("pg");
        std::fs::create_dir_all(&path).unwrap();
        let options = BTreeMap::from([("path".to_owned(), path.to_str().unwrap().to_owned())]);
        // Manual: an executor without a host guard may hold that for what others start.
        let spec = VolumeSpec { driver: Driver::Path, options, takeover: Takeover::Manual, coherent: true, lock_delay_ms: 0 };
        rig.control.add_volume("pg", spec);
        rig.control
            .add_container("other", crate::testing::with_volume(crate::testing::lease(1), "pg", std::path::Path::new("/unused")).spec);
        let executor = rig.started().await;
        let bench = Self { rig, engine, socket: plugins.join("berth.sock") };
        eventually("the plugin's socket", || bench.socket.exists()).await;
        (bench, executor)
    }

    /// As dockerd asks.
    async fn ask(&self, call: &str, body: &str) -> Value {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let head = format!("POST /{call} HTTP/1.1\r\nHost: plugin\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    async fn mount(&self, id: &str) -> Value {
        self.ask("VolumeDriver.Mount", &json!({ "Name": "pg", "ID": id }).to_string()).await
    }

    fn token(&self) -> Option<Token> {
        let volume = VolumeId::new("pg").unwrap();
        self.rig.control.state(|state| state.lease_of_volume(&volume).map(|lease| lease.token))
    }
}

fn error(answer: &Value) -> String {
    let text = answer["Err"].as_str().unwrap_or_default().to_owned();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn all_nine_calls_are_answered_in_dockers_words() {
    let (bench, executor) = Bench::new().await;
    assert_eq!(bench.ask("Plugin.Activate", "").await, json!({ "Implements": ["VolumeDriver"] }));
    assert_eq!(bench.ask("VolumeDriver.Capabilities", "").await, json!({ "Capabilities": { "Scope": "global" } }));
    assert_eq!(error(&bench.ask("VolumeDriver.Create", r#"{"Name":"pg","Opts":null}"#).await), "");
    assert_eq!(error(&bench.ask("VolumeDriver.Create", r#"{"Name":"data","Opts":{"volume":"pg"}}"#).await), "");
    assert_eq!(bench.ask("VolumeDriver.Path", r#"{"Name":"pg"}"#).await["Mountpoint"], "");
    let mounted = bench.mount("m1").await;
    assert_eq!(error(&mounted), "");
    let at = PathBuf::from(mounted["Mountpoint"].as_str().unwrap());
    assert!(at.join(".berth/fence").exists(), "mounted and claimed before Docker gets it");
    let token = bench.token().unwrap();
    bench.engine.lists("running");
    assert_eq!(bench.ask("VolumeDriver.Path", r#"{"Name":"data"}"#).await["Mountpoint"], mounted["Mountpoint"]);
    let seen = bench.ask("VolumeDriver.Get", r#"{"Name":"data"}"#).await;
    let status = &seen["Volume"]["Status"];
    assert_eq!((&status["token"], &status["holder"], &status["takeover"]), (&json!(token.0), &json!("h1"), &json!("manual")));
    let all = bench.ask("VolumeDriver.List", "").await;
    assert_eq!(all["Volumes"].as_array().unwrap().iter().map(|v| v["Name"].as_str().unwrap()).collect::<Vec<_>>(), ["data", "pg"]);
    assert!(error(&bench.ask("VolumeDriver.Remove", r#"{"Name":"pg"}"#).await).contains("in use"));
    assert_eq!(error(&bench.ask("VolumeDriver.Unmount", r#"{"Name":"pg","ID":"m1"}"#).await), "");
    bench.engine.lists_nothing();
    bench.rig.ended(token).await;
    assert_eq!(error(&bench.ask("VolumeDriver.Remove", r#"{"Name":"data"}"#).await), "");
    assert!(!at.exists(), "a container that starts too late finds nothing");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn whatever_is_wrong_is_one_readable_line() {
    let (bench, executor) = Bench::new().await;
    for (call, body, word) in [
        ("VolumeDriver.Create", r#"{"Name":"nothere"}"#, "berth volume add nothere"),
        ("VolumeDriver.Create", r#"{"Name":"pg","Opts":{"size":"1G"}}"#, "option \"size\" is unknown"),
        ("VolumeDriver.Create", "", "names no volume"),
        ("VolumeDriver.Mount", "{", "not a request"),
        ("VolumeDriver.Mount", r#"{"Name":"nothere","ID":"x"}"#, "berth volume add nothere"),
        ("VolumeDriver.Mount", r#"{"Name":"../etc","ID":"x"}"#, "cannot be a volume"),
        ("VolumeDriver.Get", r#"{"Name":"nothere"}"#, "nothere"),
        ("VolumeDriver.Nonsense", "", "no call"),
        ("", "\u{1}\u{2}", "no call"),
    ] {
        let line = error(&bench.ask(call, body).await);
        assert!(line.contains(word), "{call} {body}: {line}");
    }
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn the_loser_reads_who_holds_it() {
    let (bench, executor) = Bench::new().await;
    let token = bench.rig.run("other").await;
    let line = error(&bench.mount("m1").await);
    for word in ["volume pg is held by other on host h1", &format!("token {token}"), "berth container stop other"] {
        assert!(line.contains(word), "{line}");
    }
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_host_without_a_control_plane_gets_no_volume_and_says_why() {
    let (bench, executor) = Bench::new().await;
    bench.rig.control.set(Mode::Silent);
    let line = error(&bench.mount("m1").await);
    assert!(line.contains("control plane"), "{line}");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_of_a_container_keeps_its_lease_and_containers_of_one_host_share_it() {
    // A clock that jumps by 20 s must not end the lease.
    let (bench, executor) = Bench::on(Rig::with_ttl(60_000)).await;
    assert_eq!(error(&bench.mount("m1").await), "");
    let token = bench.token().unwrap();
    bench.engine.lists("running");
    assert_eq!(error(&bench.mount("m2").await), "");
    // Docker's restart: unmount, then mount, with nothing running in between.
    bench.engine.lists("exited");
    for id in ["m1", "m2"] {
        bench.ask("VolumeDriver.Unmount", &json!({ "Name": "pg", "ID": id }).to_string()).await;
    }
    assert_eq!(error(&bench.mount("m3").await), "");
    bench.engine.lists("running");
    assert_eq!(bench.token(), Some(token));
    assert!(bench.rig.control.releases().is_empty());
    // An Unmount that never comes is no use: what runs decides.
    bench.engine.lists("exited");
    bench.rig.clock.advance_ms(20_000);
    bench.rig.ended(token).await;
    assert_eq!(error(&bench.mount("m4").await), "");
    assert_ne!(bench.token(), Some(token));
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_say_what_runs_keeps_the_lease_and_one_that_says_nothing_runs_ends_it() {
    let (bench, executor) = Bench::on(Rig::with_ttl(60_000)).await;
    assert_eq!(error(&bench.mount("m1").await), "");
    let token = bench.token().unwrap();
    bench.ask("VolumeDriver.Unmount", r#"{"Name":"pg","ID":"m1"}"#).await;
    *bench.engine.0.lock().unwrap() = None;
    bench.rig.clock.advance_ms(30_000);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(bench.token(), Some(token), "no answer was taken for nobody");
    bench.engine.lists_nothing();
    bench.rig.ended(token).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn what_ran_on_while_the_executor_was_away_keeps_its_lease() {
    let (bench, executor) = Bench::new().await;
    assert_eq!(error(&bench.mount("m1").await), "");
    let token = bench.token().unwrap();
    bench.engine.lists("running");
    executor.crash().await;
    let executor = bench.rig.started().await;
    eventually("asked again", || bench.socket.exists()).await;
    for _ in 0..100 {
        bench.rig.clock.advance_ms(80);
        tokio::time::sleep(std::time::Duration::from_millis(15)).await;
    }
    assert_eq!(bench.token(), Some(token), "released although a container runs");
    assert_eq!(error(&bench.mount("m2").await), "");
    assert_eq!(bench.token(), Some(token));
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_mount_after_the_right_is_lost_gets_nothing() {
    let (bench, executor) = Bench::new().await;
    assert_eq!(error(&bench.mount("m1").await), "");
    let token = bench.token().unwrap();
    bench.engine.lists("running");
    bench.rig.control.set(Mode::Silent);
    bench.rig.clock.advance_ms(crate::testing::rig::HOLD);
    let line = error(&bench.mount("m2").await);
    assert!(!line.is_empty(), "a volume was given out without a right");
    // What cannot be killed is never reported gone.
    bench.rig.control.set(Mode::Answer);
    assert!(bench.rig.control.releases().is_empty());
    bench.engine.lists_nothing();
    bench.rig.ended(token).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn the_control_socket_claims_and_releases_and_tells_the_loser() {
    let (bench, executor) = Bench::new().await;
    let socket = bench.rig.data.path().join("run").join(crate::external::SOCKET);
    eventually("the control socket", || socket.exists()).await;
    let ask = |text: &'static str| {
        let socket = socket.clone();
        async move {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut line = vec![0; 16 * 1024];
            let read = stream.read(&mut line).await.unwrap();
            (stream, serde_json::from_slice::<Value>(&line[..read]).unwrap())
        }
    };
    let (mut stream, answer) = ask("{\"volumes\":[\"pg\"]}\n").await;
    if answer["refused"]["line"].as_str().is_some_and(|line| line.contains("control groups")) {
        println!("skipped: no cgroup v2 here");
        return executor.stop().await.unwrap();
    }
    let token = bench.token().unwrap();
    assert_eq!(answer["ready"]["token"], token.0, "{answer}");
    assert!(answer["ready"]["environment"]["BERTH_VOLUME_PG"].as_str().unwrap().ends_with("/pg"));
    let (_, loser) = ask("{\"volumes\":[\"pg\"]}\n").await;
    assert_eq!(loser["refused"]["kind"], "held");
    assert!(loser["refused"]["line"].as_str().unwrap().contains("run.h1.pg"), "{loser}");
    let (_, unknown) = ask("{\"volumes\":[\"nothere\"]}\n").await;
    assert_eq!(unknown["refused"]["kind"], "not-found");
    assert_eq!(ask("garbage\n").await.1["refused"]["kind"], "other");
    stream.write_all(b"{\"ended\":0}\n").await.unwrap();
    bench.rig.ended(token).await;
    executor.stop().await.unwrap();
}
