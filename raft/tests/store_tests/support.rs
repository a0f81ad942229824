//! What the store tests share: a toy machine, entries, stores on either engine, copies of a disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use berth_raft::engine::{Disk, Half, MemoryDisk, RocksDisk};
use berth_raft::fatal::{Fatal, FatalCause};
use berth_raft::store::log::LogStore;
use berth_raft::store::machine::{Applied, Machine, NoObserver};
use berth_raft::store::probe::Probe;
use berth_raft::store::state::StateStore;
use berth_raft::store::{Store, StoreError, StoreOptions, open_on};
use berth_raft::types::{Entry, LeaderId, LogId, Member, Membership, Proposal, TypeConfig, Vote};
use berth_state::ids::ClusterId;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;

pub const CLUSTER: ClusterId = ClusterId([7; 16]);
pub const NODE: u64 = 1;

/// A machine of keys and values. Commands: `put KEY VALUE` and `del KEY` (one event each), `twice KEY VALUE` (two events), anything else does
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toy(pub BTreeMap<String, String>);

impl Machine for Toy {
    fn apply(&mut self, _: u64, command: &[u8]) -> Applied {
        let text = String::from_utf8_lossy(command).into_owned();
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        let event = Bytes::copy_from_slice(command);
        match words[..] {
            ["put", key, value] => {
                self.0.insert(key.to_owned(), value.to_owned());
                Applied { outcome: None, events: vec![event], changed: vec![(key.into(), Some(value.into()))] }
            }
            ["twice", key, value] => {
                self.0.insert(key.to_owned(), value.to_owned());
                Applied { outcome: None, events: vec![event.clone(), event], changed: vec![(key.into(), Some(value.into()))] }
            }
            ["del", key] => {
                self.0.remove(key);
                Applied { outcome: None, events: vec![event], changed: vec![(key.into(), None)] }
            }
            _ => Applied::default(),
        }
    }

    fn load(objects: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|e| e.to_string());
        objects.map(|(key, value)| Ok((text(key)?, text(value)?))).collect::<Result<_, String>>().map(Self)
    }

    fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone().into_bytes())).collect()
    }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: NODE }, index)
}

pub fn vote(term: u64) -> Vote {
    Vote { leader_id: LeaderId { term, node_id: NODE }, committed: true }
}

pub fn command(term: u64, index: u64, command: &str) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(Bytes::copy_from_slice(command.as_bytes()))) }
}

/// The entry that all tests put at an index: every log of these tests is a beginning of the same one, unless a test says otherwise.
pub fn usual(term: u64, index: u64) -> Entry {
    match index {
        0 => Entry { log_id: log_id(term, 0), payload: EntryPayload::Membership(members()) },
        _ if index.is_multiple_of(7) => Entry { log_id: log_id(term, index), payload: EntryPayload::Blank },
        _ if index.is_multiple_of(5) => command(term, index, &format!("del k{}", (index + 1) % 10)),
        _ if index.is_multiple_of(3) => command(term, index, &format!("twice k{} t{index}", index % 10)),
        _ => command(term, index, &format!("put k{} v{index}", index % 10)),
    }
}

pub fn members() -> Membership {
    let member = Member { address: "node-1:7400".to_owned() };
    Membership::new(vec![[NODE].into()], BTreeMap::from([(NODE, member)])).unwrap()
}

/// What the machine is after the usual entries up to an index.
pub fn toy_at(index: u64) -> Toy {
    let mut toy = Toy::default();
    for entry in (0..=index).map(|index| usual(1, index)) {
        if let EntryPayload::Normal(proposal) = entry.payload {
            toy.apply(entry.log_id.index, &proposal.0);
        }
    }
    toy
}

/// Options whose fatal hook collects causes.
pub fn options() -> (StoreOptions, Arc<Mutex<Vec<FatalCause>>>) {
    let causes: Arc<Mutex<Vec<FatalCause>>> = Arc::default();
    let seen = causes.clone();
    let fatal = Fatal::hook(move |cause| seen.lock().unwrap().push(cause.clone()));
    (StoreOptions { fatal, probe: Probe::none(), observer: Arc::new(NoObserver) }, causes)
}

/// Opens a store whose fatal errors fail the test.
pub fn open(data_dir: &Path, disk: &dyn Disk) -> Result<Store<Toy>, StoreError> {
    open_probed(data_dir, disk, Probe::none())
}

pub fn open_probed(data_dir: &Path, disk: &dyn Disk, probe: Probe) -> Result<Store<Toy>, StoreError> {
    let fatal = Fatal::hook(|cause| panic!("fatal: {cause:?}"));
    open_on(data_dir, CLUSTER, NODE, disk, StoreOptions { fatal, probe, observer: Arc::new(NoObserver) })
}

/// Runs a test on both engines: each call gets an empty folder and the disk in it.
pub fn on_both(test: impl Fn(&Path, &dyn Disk)) {
    let memory = tempfile::tempdir().unwrap();
    test(memory.path(), &MemoryDisk::default());
    let rocks = tempfile::tempdir().unwrap();
    test(rocks.path(), &RocksDisk::new(rocks.path()));
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Appends and waits for the acknowledgement.
pub async fn append(log: &mut LogStore, entries: impl IntoIterator<Item = Entry>) {
    let entries: Vec<Entry> = entries.into_iter().collect();
    log.blocking_append(entries).await.unwrap();
}

/// Appends; the receiver gets the acknowledgement.
pub async fn append_unwaited(log: &mut LogStore, entry: Entry) -> OneshotReceiverOf<TypeConfig, Result<(), std::io::Error>> {
    let (done, acknowledged) = TypeConfig::oneshot();
    log.append([entry], IOFlushed::signal(done)).await.unwrap();
    acknowledged
}

pub async fn apply<M: Machine>(state: &mut StateStore<M>, entries: impl IntoIterator<Item = Entry>) {
    let items: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    state.apply(futures::stream::iter(items)).await.unwrap();
}

/// Votes, appends and applies the usual entries up to an index.
pub async fn fill(store: &mut Store<Toy>, to: u64) {
    store.log.save_vote(&vote(1)).await.unwrap();
    append(&mut store.log, (0..=to).map(|index| usual(1, index))).await;
    apply(&mut store.state, (0..=to).map(|index| usual(1, index))).await;
}

pub async fn entries(log: &mut LogStore) -> Vec<Entry> {
    log.get_log_reader().await.try_get_log_entries(..).await.unwrap()
}

pub async fn indices(log: &mut LogStore) -> Vec<u64> {
    entries(log).await.into_iter().map(|entry| entry.log_id.index).collect()
}

pub async fn read_vote(log: &mut LogStore) -> Option<Vote> {
    log.get_log_reader().await.read_vote().await.unwrap()
}

/// The state is that of the usual entries up to its applied index, in memory and in the events, whose hashes follow. Gives back the index.
pub fn check_usual_state(store: &Store<Toy>) -> Option<u64> {
    let standing = store.shared.standing();
    let index = standing.index()?;
    store.shared.read(|toy, at| {
        assert_eq!(at, index);
        assert_eq!(*toy, toy_at(index), "state at index {index}");
    });
    let head = store.events.verify(0, u64::MAX).unwrap();
    assert_eq!(head, standing.head, "the event log ends where the state says");
    let found: Vec<u64> = store.events.events(0, usize::MAX).unwrap().iter().map(|event| event.position.index).collect();
    assert_eq!(found, usual_event_indices(index), "events up to index {index}");
    Some(index)
}

pub fn usual_event_indices(to: u64) -> Vec<u64> {
    (0..=to)
        .flat_map(|index| {
            let EntryPayload::Normal(proposal) = usual(1, index).payload else { return vec![] };
            vec![index; Toy::default().apply(index, &proposal.0).events.len()]
        })
        .collect()
}

/// Copies a folder with all in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What the memory disk would hold after power loss now; of what was not synced, the first batches stay.
pub fn after_power_loss(disk: &MemoryDisk, kept: usize) -> MemoryDisk {
    let image = |half| Arc::new(disk.engine(half).unwrap().after_power_loss(kept));
    MemoryDisk::with(image(Half::Raft), image(Half::State))
}
