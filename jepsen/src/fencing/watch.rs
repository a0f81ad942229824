//! Looks at the storage and at the deadline pages all the time, from outside: what reached the storage from whom and when, and until when each holder
//! might write. Used by the rig. Must never write, nor ask Berth anything.

use crate::fencing::analysis::Growth;
use crate::fencing::stamps::{Ns, token_of};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(4);
/// A guard has to notice a lowered deadline within this time.
const NOTICE_MS: u64 = 50;
const MAGIC: &[u8; 8] = b"BERTHDL1";

/// Where bytes of a volume arrive.
#[derive(Debug, Clone)]
pub enum Storage {
    /// A directory that holds the writers' files themselves.
    Directory(PathBuf),
    /// A file system in an image file: each holder has a loop device of its own over it.
    Image { file: PathBuf },
}

/// A host as the watch sees it. `root` changes with each boot.
#[derive(Debug, Clone)]
pub struct WatchedHost {
    /// The executor's run folder.
    pub run: PathBuf,
    pub root: PathBuf,
}

#[derive(Debug, Default)]
struct Found {
    growth: Vec<Growth>,
    pages: BTreeMap<u64, PageStory>,
    looks: u64,
    longest_pause_ms: u64,
}

/// What a deadline page said over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageStory {
    /// The last deadline that was one, and whether the last word was "none".
    last: Option<Ns>,
    endless: bool,
    /// When it first said "over".
    over: Option<Ns>,
}

impl PageStory {
    fn say(&mut self, word: u64, now: Ns, deadline: impl Fn(u64) -> Ns) {
        match word {
            // Every page says "over" until it is first written.
            0 if self.last.is_some() || self.endless => self.over = self.over.or(Some(now)),
            0 => {}
            u64::MAX => (self.endless, self.over) = (true, None),
            ns => (self.last, self.endless, self.over) = (Some(deadline(ns)), false, None),
        }
    }

    /// From when on the holder had to be silent.
    pub fn deadline(self) -> Option<Ns> {
        let last = self.last.filter(|_| !self.endless);
        let over = self.over.map(|at| at.plus_ms(NOTICE_MS));
        [last, over].into_iter().flatten().min()
    }
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    hosts: Arc<Mutex<Vec<WatchedHost>>>,
    found: Arc<Mutex<Found>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(storage: Storage, hosts: Vec<WatchedHost>) -> Self {
        let (stop, hosts) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(hosts)));
        let found = Arc::new(Mutex::new(Found::default()));
        let thread = thread::spawn({
            let (stop, hosts, found) = (stop.clone(), hosts.clone(), found.clone());
            move || {
                let mut eyes = Eyes::default();
                let mut before = Ns::now();
                while !stop.load(Ordering::Relaxed) {
                    let hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let growth = match &storage {
                        Storage::Directory(path) => eyes.files(path),
                        Storage::Image { file } => eyes.loops(file, &hosts),
                    };
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.growth.extend(growth);
                    pages(&hosts, &mut found.pages);
                    let now = Ns::now();
                    found.looks += 1;
                    found.longest_pause_ms = found.longest_pause_ms.max(now.ms_since(before));
                    before = now;
                    drop(found);
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { stop, hosts, found, thread: Some(thread) }
    }

    /// After a boot.
    pub fn set_hosts(&self, hosts: Vec<WatchedHost>) {
        *self.hosts.lock().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    pub fn growth(&self) -> Vec<Growth> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).growth.clone()
    }

    pub fn deadlines(&self) -> BTreeMap<u64, Ns> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.pages.iter().filter_map(|(token, story)| Some((*token, story.deadline()?))).collect()
    }

    /// Pages that were seen at all.
    pub fn pages(&self) -> usize {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).pages.len()
    }

    /// How long it was blind at worst.
    pub fn longest_pause_ms(&self) -> u64 {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).longest_pause_ms
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was there at the last look.
#[derive(Debug, Default)]
struct Eyes {
    sizes: BTreeMap<PathBuf, u64>,
    /// By attachment: the device's number and the kernel's sequence number of what is in it.
    sectors: BTreeMap<(String, u64), u64>,
    tokens: BTreeMap<(String, u64), u64>,
}

impl Eyes {
    fn files(&mut self, volume: &Path) -> Vec<Growth> {
        let Ok(entries) = fs::read_dir(volume.join("stamps")) else { return Vec::new() };
        let mut growth = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let token = path.file_name().and_then(|name| token_of(&name.to_string_lossy()));
            let (Some(token), Ok(found)) = (token, fs::metadata(&path)) else { continue };
            let before = self.sizes.insert(path, found.len()).unwrap_or(0);
            if found.len() > before {
                growth.push(Growth { at: Ns::now(), token, bytes: found.len() - before });
            }
        }
        growth
    }

    fn loops(&mut self, file: &Path, hosts: &[WatchedHost]) -> Vec<Growth> {
        let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
        let mut growth = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("loop") {
                continue;
            }
            let Ok(backing) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
            if Path::new(backing.trim()) != file {
                continue;
            }
            let sequence = fs::read_to_string(entry.path().join("diskseq")).ok().and_then(|s| s.trim().parse().ok()).unwrap_or(0);
            let key = (name, sequence);
            let Some(sectors) = written(&entry.path().join("stat")) else { continue };
            if !self.tokens.contains_key(&key) {
                let Some(token) = token_of_mount(&key.0, hosts) else { continue };
                self.tokens.insert(key.clone(), token);
            }
            let before = self.sectors.insert(key.clone(), sectors).unwrap_or(sectors);
            if sectors > before {
                growth.push(Growth { at: Ns::now(), token: self.tokens[&key], bytes: (sectors - before) * 512 });
            }
        }
        growth
    }
}

/// Sectors ever written, by a block device's stat file.
fn written(stat: &Path) -> Option<u64> {
    fs::read_to_string(stat).ok()?.split_whitespace().nth(6)?.parse().ok()
}

/// The token in the mount point of a loop device, on whatever host it is mounted.
fn token_of_mount(device: &str, hosts: &[WatchedHost]) -> Option<u64> {
    let source = format!(" /dev/{device} ");
    hosts.iter().find_map(|host| {
        // `/proc/PID/root` belongs to the process whose mounts these are.
        let text = fs::read_to_string(host.root.parent()?.join("mountinfo")).ok()?;
        let line = text.lines().find(|line| line.contains(&source) && line.contains("/mounts/"))?;
        line.split(' ').nth(4)?.rsplit_once('-')?.1.parse().ok()
    })
}

fn pages(hosts: &[WatchedHost], stories: &mut BTreeMap<u64, PageStory>) {
    for host in hosts {
        let Ok(entries) = fs::read_dir(host.run.join("leases")) else { continue };
        for entry in entries.flatten() {
            let token = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let (Some(token), Ok(page)) = (token, File::open(entry.path().join("page"))) else { continue };
            let mut head = [0_u8; 24];
            if page.read_exact_at(&mut head, 0).is_err() || !head.starts_with(MAGIC) {
                continue;
            }
            let word = u64::from_le_bytes(head[16..].try_into().unwrap_or_default());
            stories.entry(token).or_default().say(word, Ns::now(), Ns::of_holder_clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NOTICE_MS, PageStory};
    use crate::fencing::stamps::Ns;

    fn told(words: &[(u64, u64)]) -> Option<Ns> {
        let mut story = PageStory::default();
        for (at, word) in words {
            story.say(*word, Ns(*at), Ns);
        }
        story.deadline()
    }

    #[test]
    fn the_deadline_is_the_last_one_that_the_page_named() {
        assert_eq!(told(&[(0, 0), (1, 500), (2, 900), (3, 900)]), Some(Ns(900)));
        assert_eq!(told(&[(0, 0)]), None, "never written");
        assert_eq!(told(&[(0, u64::MAX)]), None, "none at all");
    }

    #[test]
    fn a_page_that_says_over_ends_the_right_at_that_moment_and_not_later() {
        let far = 10_000_000_000;
        assert_eq!(told(&[(0, 0), (1, far), (7, 0), (9, 0)]), Some(Ns(7).plus_ms(NOTICE_MS)));
        assert_eq!(told(&[(1, 5), (700, 0)]), Some(Ns(5)), "over after its deadline had passed anyway");
        assert_eq!(told(&[(1, u64::MAX), (7, 0)]), Some(Ns(7).plus_ms(NOTICE_MS)));
    }
}
