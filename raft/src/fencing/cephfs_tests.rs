//! Tests of `cephfs`: answers recorded from Ceph 16, and a cluster in memory that can be made to lie.
#![allow(clippy::unwrap_used, reason = "test")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use berth_state::ids::{HostId, Token, VolumeId};
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};
use serde_json::json;

use super::*;

const DUMP: &str = r#"{"epoch":4,"default_fscid":1,"standbys":[],"filesystems":[{"mdsmap":{"epoch":4,"max_mds":1,"in":[0],"up":{"mds_0":4112},
"failed":[],"damaged":[],"info":{"gid_4112":{"gid":4112,"name":"a","rank":0,"incarnation":3,"state":"up:active",
"addr":"127.0.0.1:6800/3797161183"}},"fs_name":"main"},"id":1}]}"#;

fn client(id: u64, nonce: u64, mount_point: &str) -> Value {
    json!({
        "id": id, "state": "open", "inst": format!("client.{id} v1:127.0.0.1:0/{nonce}"),
        "entity": { "name": { "type": "client", "num": id }, "addr": { "type": "v1", "addr": "127.0.0.1:0", "nonce": nonce } },
        "client_metadata": { "entity_id": "admin", "hostname": "vm", "mount_point": mount_point, "root": "/" },
    })
}

/// What the cluster does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    BlocklistDoesNothing,
    EvictDoesNothing,
    EvictShortens,
    SilentAreNotBlocklisted,
}

struct Cluster {
    lie: Lie,
    clients: Mutex<Vec<Value>>,
    /// Address and year of its end.
    blocked: Mutex<Vec<(String, u32)>>,
    orders: Mutex<Vec<String>>,
}

impl Cluster {
    fn of(lie: Lie, clients: Vec<Value>, blocked: &[(&str, u32)]) -> Self {
        let blocked = blocked.iter().map(|(address, year)| ((*address).to_owned(), *year)).collect();
        Self { lie, clients: Mutex::new(clients), blocked: Mutex::new(blocked), orders: Mutex::default() }
    }

    fn block(&self, address: &str, year: u32) {
        let mut blocked = self.blocked.lock().unwrap();
        blocked.retain(|(known, _)| known != address);
        blocked.push((address.to_owned(), year));
    }

    fn left(&self) -> Vec<u64> {
        self.clients.lock().unwrap().iter().map(|client| client["id"].as_u64().unwrap()).collect()
    }

    fn evict(&self, id: u64) {
        let mut clients = self.clients.lock().unwrap();
        if let Some(victim) = clients.iter().find(|client| client["id"] == id) {
            let address = format!("127.0.0.1:0/{}", victim["entity"]["addr"]["nonce"]);
            if self.lie == Lie::EvictShortens {
                self.block(&address, 2026);
            }
        }
        if self.lie != Lie::EvictDoesNothing {
            clients.retain(|client| client["id"] != id);
        }
    }
}

#[async_trait]
impl Orders for Cluster {
    async fn give(&self, words: &[&str]) -> Result<Said, String> {
        self.orders.lock().unwrap().push(words.join(" "));
        let out = |out: String| Ok(Said { out, err: String::new() });
        match words {
            ["fs", "dump", ..] => out(DUMP.to_owned()),
            ["tell", "mds.main:0", "client", "ls"] => out(Value::from(self.clients.lock().unwrap().clone()).to_string()),
            ["tell", "mds.main:0", "client", "evict", id] => {
                self.evict(id.strip_prefix("id=").unwrap().parse().unwrap());
                out(String::new())
            }
            ["tell", "mds.main:0", "config", "get", ON_TIMEOUT] => {
                out(json!({ ON_TIMEOUT: if self.lie == Lie::SilentAreNotBlocklisted { "false" } else { "true" } }).to_string())
            }
            ["osd", "blocklist", "ls", ..] => {
                let blocked = self.blocked.lock().unwrap();
                let list: Vec<Value> = blocked
                    .iter()
                    .map(|(address, year)| json!({ "addr": address, "until": format!("{year}-11-18T07:14:59.572547+0000") }))
                    .collect();
                out(format!("\n{}[]", Value::from(list)))
            }
            ["osd", "blocklist", "add", address, EXPIRE] => {
                if self.lie != Lie::BlocklistDoesNothing {
                    self.block(address, 2036);
                }
                Ok(Said {
                    out: String::new(),
                    err: format!("blocklisting {address} until 2036-11-18T07:14:59.572547+0000 (3.1536e+08 sec)\n"),
                })
            }
            other => panic!("unexpected order {other:?}"),
        }
    }
}

fn cut_of(token: u64) -> Cut {
    let spec =
        VolumeSpec { driver: Driver::Cephfs, options: BTreeMap::new(), takeover: Takeover::AfterFence, coherent: false, lock_delay_ms: 0 };
    Cut {
        volume: VolumeId::new("pg").unwrap(),
        spec,
        host: HostId::new("h1").unwrap(),
        address: "127.0.0.1".to_owned(),
        token: Token(token),
    }
}

fn two_clients() -> Vec<Value> {
    vec![client(5, 3_188_907_508, "/run/berth/h1/mounts/pg-5"), client(6, 77, "/run/berth/h2/mounts/pg-6")]
}

#[tokio::test]
async fn a_fence_blocklists_for_years_then_evicts_only_the_client_of_that_token() {
    let cluster = Cluster::of(Lie::None, two_clients(), &[]);
    let said = fence_by(&cluster, "main", &cut_of(5)).await.unwrap();
    assert!(said.contains("127.0.0.1:0/3188907508"), "{said}");
    assert_eq!(cluster.left(), [6]);
    assert_eq!(*cluster.blocked.lock().unwrap(), [("127.0.0.1:0/3188907508".to_owned(), 2036)]);
    let orders = cluster.orders.lock().unwrap().clone();
    let place = |start: &str| orders.iter().position(|order| order.starts_with(start)).unwrap();
    assert!(place("osd blocklist add") < place("tell mds.main:0 client evict id=5"), "{orders:?}");
}

#[tokio::test]
async fn a_second_fence_finds_nobody_and_is_fine() {
    let cluster = Cluster::of(Lie::None, two_clients(), &[]);
    fence_by(&cluster, "", &cut_of(5)).await.unwrap();
    let said = fence_by(&cluster, "", &cut_of(5)).await.unwrap();
    assert!(said.starts_with("no client is mounted at pg-5, all ranks answered (1)"), "{said}");
    assert_eq!(cluster.left(), [6]);
}

#[tokio::test]
async fn a_fence_that_is_not_in_force_is_not_acknowledged() {
    let lies = [
        (Lie::BlocklistDoesNothing, "is not in force"),
        (Lie::EvictShortens, "is not in force"),
        (Lie::EvictDoesNothing, "is still there"),
        (Lie::SilentAreNotBlocklisted, "may still write"),
    ];
    for (lie, expected) in lies {
        let error = fence_by(&Cluster::of(lie, two_clients(), &[]), "main", &cut_of(5)).await.unwrap_err();
        assert!(error.contains(expected), "{lie:?}: {error}");
    }
}

#[tokio::test]
async fn a_client_that_the_servers_evicted_for_an_hour_is_kept_out_for_years() {
    let blocked =
        [("127.0.0.1:0/9", 2026), ("127.0.0.1:6800/9", 2026), ("10.0.0.7:0/9", 2026), ("127.0.0.1:0/8", 2036), ("127.0.0.1:0/0", 2026)];
    let cluster = Cluster::of(Lie::None, Vec::new(), &blocked);
    let said = fence_by(&cluster, "main", &cut_of(5)).await.unwrap();
    assert!(said.ends_with("prolonged in the blocklist, of its host: 127.0.0.1:0/9"), "{said}");
    let long: Vec<_> =
        cluster.blocked.lock().unwrap().iter().filter(|(_, year)| *year == 2036).map(|(address, _)| address.clone()).collect();
    assert_eq!(long, ["127.0.0.1:0/8", "127.0.0.1:0/9"], "neither a daemon, nor another host, nor a whole host");
}

#[test]
fn only_the_last_part_of_the_mount_point_decides() {
    let list = |point: &str| Value::from(vec![client(5, 9, point)]).to_string();
    for (point, found) in
        [("/run/pg-5", 1), ("/run/pg-5/", 1), ("/pg-5", 1), ("/run/pg-55", 0), ("/run/my-pg-5", 0), ("/run/pg-5/x", 0), ("", 0)]
    {
        assert_eq!(mounted_at(&list(point), "mds.main:0", "pg-5").unwrap().len(), found, "{point}");
    }
}

#[test]
fn a_list_of_clients_that_cannot_be_read_whole_is_refused() {
    let whole = Value::from(two_clients()).to_string();
    for garbage in ["", "{}", "null", &whole[..whole.len() - 1], r#"[{"id":5}]"#] {
        assert!(mounted_at(garbage, "mds.main:0", "pg-5").is_err(), "{garbage}");
    }
    for (pointer, value) in [("/entity/addr/nonce", json!(0)), ("/entity/addr/addr", json!("-")), ("/id", json!("5"))] {
        let mut one = client(5, 9, "/m/pg-5");
        *one.pointer_mut(pointer).unwrap() = value;
        assert!(mounted_at(&Value::from(vec![one]).to_string(), "mds.main:0", "pg-5").is_err(), "{pointer}");
    }
}

#[test]
fn every_rank_must_be_active() {
    assert_eq!(ranks(DUMP, "main").unwrap(), ["mds.main:0"]);
    assert_eq!(ranks(DUMP, "").unwrap(), ["mds.main:0"]);
    for (from, to) in
        [("up:active", "up:reconnect"), (r#""in":[0]"#, r#""in":[0,1]"#), (r#""rank":0"#, r#""rank":-1"#), (r#""in":[0]"#, r#""in":[]"#)]
    {
        assert!(ranks(&DUMP.replace(from, to), "main").is_err(), "{to}");
    }
    assert!(ranks(DUMP, "other").is_err() && ranks("{}", "").is_err() && ranks("x", "").is_err());
}

#[test]
fn a_blocklist_that_cannot_be_read_is_refused() {
    assert!(parse_blocklist("\n[][]").unwrap().is_empty());
    for garbage in ["", "listed 0 entries", "{}", r#"[{"addr":"127.0.0.1:0/9"}]"#, r#"[{"until":"2036-11-18"}]"#] {
        assert!(parse_blocklist(garbage).is_err(), "{garbage}");
    }
}

#[test]
fn orders_are_given_as_the_admin_that_the_volume_names() {
    let options =
        [("monitors", "m1,m2:6789"), ("fence", "evict"), ("admin", "fencer"), ("admin-keyring", "/etc/k"), ("admin-conf", "/etc/c")];
    let options = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let Ok(berth_state::storage::StorageOptions::Cephfs(options)) = berth_state::storage::StorageOptions::parse(Driver::Cephfs, &options)
    else {
        panic!("options");
    };
    let words = Program::new(&options).first.join(" ");
    assert_eq!(words, "-n client.fencer --connect-timeout 10 -c /etc/c -k /etc/k -m m1,m2:6789");
}
