//! The guard itself: one thread that looks at every lease of its run folder every [`LOOK`], by the holder's clock (L19), and does what its order says when the
//! deadline has come. Needs no executor, no container engine and no disk. Must never wait for a volume, and never end while a lease could need it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_guard::page::{PageError, PageReader};

use super::facts::Facts;
use super::folder::{RunFolder, token_of};
use super::hands::{Hands, chain};
use super::lease::{Lease, View};
use super::lock::Lock;
use super::log::say;
use super::order::Order;
use super::status::StatusWriter;
use super::watch::{RESCAN_NS, Watcher};
use super::watchdog::{HeldOff, Keeper};

/// L19 asks for at most 50 ms.
pub const LOOK: Duration = Duration::from_millis(20);
/// Without an executor and without a lease it ends after this.
const IDLE_NS: u64 = 3_000_000_000;
/// And where leases are left with which there is nothing more to do, after this: a start may still be under way in an engine that hangs.
const SETTLED_NS: u64 = 600_000_000_000;

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Another guard takes its place; the watchdog, if any, counts on.
    HandedOver,
    /// Nothing to do and nobody there, or asked to stop: the watchdog is disarmed.
    Stopped,
}

pub struct HostGuard {
    run: RunFolder,
    hands: Arc<dyn Hands>,
    watchdog: Option<Keeper>,
    status: StatusWriter,
    stop: Arc<AtomicBool>,
    lock: Lock,
    watcher: Watcher,
    leases: BTreeMap<u64, Watched>,
    /// What lies in the folder and is no lease, and what was said of it.
    strange: BTreeMap<String, String>,
    idle_since_ns: Option<u64>,
    held_off: Option<HeldOff>,
    pet_failed: bool,
}

struct Watched {
    lease: Lease,
    /// Inode of the page that is read.
    page: u64,
    /// Inode and change time of the order that was read.
    order: Option<(u64, i64, i64)>,
    /// Its folder is gone, and something of it was still there.
    orphan: bool,
}

impl HostGuard {
    /// `stop`: ends it when no lease is left.
    ///
    /// # Errors
    /// The status file cannot be made.
    pub fn new(run: RunFolder, hands: Arc<dyn Hands>, watchdog: Option<Keeper>, lock: Lock, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let status = StatusWriter::create(&run.status(), hands.now_ns())?;
        let watcher = Watcher::new(&[run.path(), &run.leases()]);
        let (leases, strange) = (BTreeMap::new(), BTreeMap::new());
        let (idle_since_ns, held_off, pet_failed) = (None, None, false);
        Ok(Self { run, hands, watchdog, status, stop, lock, watcher, leases, strange, idle_since_ns, held_off, pet_failed })
    }

    /// Until there is nothing to do and nobody there, or another one takes over.
    pub fn run(mut self) -> Ended {
        let mut told = true;
        let mut scanned_ns = 0;
        loop {
            let now = self.hands.now_ns();
            if told || now.saturating_sub(scanned_ns) >= RESCAN_NS {
                self.scan();
                scanned_ns = now;
                if self.run.hand_over().exists() {
                    return self.hand_over();
                }
            }
            self.look();
            if self.may_end() {
                return self.end();
            }
            told = self.watcher.wait(LOOK);
        }
    }

    fn look(&mut self) {
        let due: Vec<u64> =
            self.leases.iter().filter(|(_, watched)| watched.lease.falls_due(&self.hands)).map(|(token, _)| *token).collect();
        due.into_iter().for_each(|token| self.read_last_word(token));
        for watched in self.leases.values_mut() {
            let was_over = watched.lease.is_over();
            let facts = watched.lease.look(&self.hands);
            if watched.lease.is_over() && !was_over {
                say(&format!("token {}: the deadline has come: killing, cutting, unmounting", watched.lease.token));
            }
            if let Some(facts) = facts {
                report(&facts);
                facts.write(&self.run);
            }
        }
        self.pet();
        let unverified = self.leases.values().filter(|watched| watched.lease.is_unverified()).count();
        self.status.looked(self.hands.now_ns(), self.leases.len(), unverified, self.watchdog.as_ref().map(Keeper::status));
    }

    fn pet(&mut self) {
        let Some(watchdog) = &mut self.watchdog else { return };
        let views: Vec<View> = self.leases.values().map(|watched| watched.lease.view()).collect();
        let (held_off, failed) = match watchdog.pet(self.hands.now_ns(), &views) {
            Ok(held_off) => (held_off, false),
            Err(error) => {
                if !self.pet_failed {
                    say(&chain(&error));
                }
                (None, true)
            }
        };
        if let Some(by) = held_off.filter(|_| held_off != self.held_off) {
            say(&format!("token {}: the watchdog is not petted until it is renewed, or dead and cut", by.token));
        }
        (self.held_off, self.pet_failed) = (held_off, failed);
    }

    /// Takes in what is new in the folder, and lets go of what the executor has removed.
    fn scan(&mut self) {
        let entries = match fs::read_dir(self.run.leases()) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>(),
            Err(_) => Vec::new(),
        };
        if self.is_replaced() {
            // Made anew under the same name: those who come now are another guard's.
            return self.let_go(&[]);
        }
        self.strange.retain(|name, _| entries.contains(name));
        for name in &entries {
            match token_of(name) {
                Some(token) => self.take(token, name),
                None => self.complain(name, "its name is no token"),
            }
        }
        self.let_go(&entries);
    }

    fn take(&mut self, token: u64, name: &str) {
        if !self.leases.contains_key(&token) {
            self.watcher.add(&self.run.lease(token));
            match PageReader::open(&self.run.page(token), token) {
                Ok(page) => {
                    self.strange.remove(name);
                    let lease = Lease::new(token, Box::new(page));
                    self.leases.insert(token, Watched { lease, page: inode(&self.run, token), order: None, orphan: false });
                }
                // Just being made, or being removed.
                Err(error) if error.is_missing() => return,
                Err(
                    error @ (PageError::Io { .. }
                    | PageError::NoPage { .. }
                    | PageError::Token { .. }
                    | PageError::Boot { .. }
                    | PageError::Clock { .. }),
                ) => {
                    return self.complain(name, &chain(&error));
                }
            }
        }
        let Some(watched) = self.leases.get_mut(&token) else { return };
        let page = inode(&self.run, token);
        // Made anew by the executor after somebody had removed it: the old one is written no more.
        if page != watched.page
            && let Ok(reader) = PageReader::open(&self.run.page(token), token)
        {
            watched.page = page;
            watched.lease.read_from(Box::new(reader));
        }
        let version = fs::metadata(self.run.order(token)).ok().map(|found| (found.ino(), found.ctime(), found.ctime_nsec()));
        if version.is_none() || version == watched.order {
            return;
        }
        watched.order = version;
        match Order::read(&self.run, token) {
            Ok(Some(order)) => watched.lease.ordered(order),
            Ok(None) => watched.order = None,
            // The former order stays in force.
            Err(error) => self.complain(name, &chain(&error)),
        }
    }

    fn is_replaced(&self) -> bool {
        self.lock.is_replaced(&self.run.lock())
    }

    /// Before anything is done: the order as it is now. A release takes it back, then the page, then the folder, and that must not look like a deadline.
    fn read_last_word(&mut self, token: u64) {
        let Some(watched) = self.leases.get_mut(&token) else { return };
        match Order::read(&self.run, token) {
            Ok(Some(order)) => watched.lease.ordered(order),
            Ok(None) if watched.lease.is_harmless(&self.hands) => {
                self.leases.remove(&token);
            }
            // What was ordered before stays in force.
            Ok(None) | Err(_) => {}
        }
    }

    /// Said once. Left alone.
    fn complain(&mut self, name: &str, what: &str) {
        if self.strange.get(name).is_none_or(|said| said != what) {
            say(&format!("leases/{name}: {what}"));
            self.strange.insert(name.to_owned(), what.to_owned());
        }
    }

    /// A folder is removed by the executor after the release. Where something still lives or is mounted it was somebody else, and the lease stays.
    fn let_go(&mut self, entries: &[String]) {
        let hands = Arc::clone(&self.hands);
        self.leases.retain(|token, watched| {
            if entries.contains(&token.to_string()) {
                watched.orphan = false;
                return true;
            }
            let harmless = watched.lease.is_harmless(&hands);
            if !harmless && !watched.orphan {
                say(&format!("token {token}: its folder is gone, and not its instance or its mount: it stays under guard"));
            }
            watched.orphan = !harmless;
            !harmless
        });
    }

    fn may_end(&mut self) -> bool {
        let (empty, settled) = (self.leases.is_empty(), self.leases.values().all(|watched| watched.lease.is_settled()));
        if !settled {
            self.idle_since_ns = None;
            return false;
        }
        if empty && self.must_end() {
            return true;
        }
        let bound = if empty { IDLE_NS } else { SETTLED_NS };
        let now = self.hands.now_ns();
        match self.idle_since_ns {
            // Only where the lock can be had nobody is there; the look is cheap, but not for every 20 ms.
            Some(since) if now.saturating_sub(since) >= bound => {
                self.idle_since_ns = None;
                matches!(Lock::sole(&self.run.attached()), Ok(Some(_)))
            }
            Some(_) => false,
            None => {
                self.idle_since_ns = Some(now);
                false
            }
        }
    }

    fn must_end(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.is_replaced() || !self.run.leases().exists()
    }

    fn end(self) -> Ended {
        say("nothing is left to guard: the guard ends");
        if let Some(watchdog) = self.watchdog
            && let Err(error) = watchdog.disarm()
        {
            say(&chain(&error));
        }
        Ended::Stopped
    }

    fn hand_over(self) -> Ended {
        say("another guard takes over: this one ends, and kills nothing");
        Ended::HandedOver
    }
}

/// 0: there is none.
fn inode(run: &RunFolder, token: u64) -> u64 {
    fs::metadata(run.page(token)).map_or(0, |found| found.ino())
}

fn report(facts: &Facts) {
    let Some(act) = facts.acts.last() else { return };
    let late_ms = facts.noticed_ns.saturating_sub(facts.deadline_ns.max(1)) / 1_000_000;
    let late = if facts.deadline_ns == 0 { String::new() } else { format!(", noticed {late_ms} ms after the deadline") };
    let verified = if facts.verified_ns.is_some() { "; dead and cut" } else { "" };
    say(&format!("token {}: {:?} {}: {}{late}{verified}", facts.token, act.kind, act.what, act.outcome));
}
