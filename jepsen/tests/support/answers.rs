//! The second witness of a double start: asks the Postgres of every host, many times a second, when its postmaster started. Used by the story and the
//! negative control; asks the hosts themselves and never Berth.

use crate::pg::Pg;
use berth_jepsen::e2e::{Life, Stamp};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const BOUND: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(50);

/// First answer and last question of each postmaster of each host: in between it was up for certain.
type Postmasters = Arc<Mutex<BTreeMap<(String, String), (Stamp, Stamp)>>>;

/// Asks from its start until it is dropped.
pub struct AnswerWatch {
    stop: Arc<AtomicBool>,
    postmasters: Postmasters,
    threads: Vec<JoinHandle<()>>,
}

impl AnswerWatch {
    pub fn start(hosts: &BTreeMap<String, Ipv4Addr>) -> Self {
        let (stop, postmasters) = (Arc::new(AtomicBool::new(false)), Postmasters::default());
        let threads = hosts.iter().map(|(host, ip)| {
            let (stop, postmasters, host, ip) = (stop.clone(), postmasters.clone(), host.clone(), *ip);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(pg) = Pg::connect(ip, BOUND) {
                        ask_while_it_answers(&pg, &host, &stop, &postmasters);
                    }
                    thread::sleep(PAUSE);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, postmasters, threads }
    }

    /// All postmasters that answered.
    pub fn lives(&self) -> Vec<Life> {
        let postmasters = self.postmasters.lock().unwrap();
        postmasters.iter().map(|((host, _), (begun, seen))| Life { host: host.clone(), begun: *begun, seen: *seen }).collect()
    }
}

impl Drop for AnswerWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ask_while_it_answers(pg: &Pg, host: &str, stop: &AtomicBool, postmasters: &Postmasters) {
    while !stop.load(Ordering::Relaxed) {
        let asked = Stamp::now();
        let Some(started) = pg.postmaster(BOUND) else { return };
        let answered = Stamp::now();
        postmasters.lock().unwrap().entry((host.to_string(), started)).and_modify(|life| life.1 = asked).or_insert((answered, asked));
        thread::sleep(PAUSE);
    }
}
