//! Random appends, votes, truncations, purges and power losses against a model of what was promised. Prints its seed; replay with SEED=….

use std::sync::Arc;

use berth_raft::engine::MemoryDisk;
use openraft::storage::RaftLogStorage;

use crate::support::{after_power_loss, append, apply, block_on, command, copy_folder, entries, indices, log_id, open, read_vote, vote};

/// xorshift: enough to choose steps by.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn seed() -> u64 {
    let drawn = || std::collections::hash_map::RandomState::new();
    let random = || std::hash::BuildHasher::hash_one(&drawn(), 1);
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(random);
    println!("seed={seed}");
    seed
}

#[test]
fn whatever_happens_what_was_promised_is_there() {
    let mut dice = Dice(seed() | 1);
    for _ in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        block_on(one_life_after_another(folder.path(), &mut dice));
    }
}

async fn one_life_after_another(folder: &std::path::Path, dice: &mut Dice) {
    let mut disk = MemoryDisk::default();
    let (mut term, mut log, mut applied): (u64, Vec<(u64, u64)>, u64) = (1, Vec::new(), 0);
    for _ in 0..4 {
        let mut store = open(folder, &disk).unwrap();
        // What state was lost is applied again from the log, as openraft does.
        let standing = store.shared.standing().index().map_or(0, |index| index + 1);
        let again: Vec<_> =
            entries(&mut store.log).await.into_iter().filter(|entry| (standing..applied).contains(&entry.log_id.index)).collect();
        assert_eq!(again.len() as u64, applied.saturating_sub(standing), "an applied entry is in neither state nor log");
        apply(&mut store.state, again).await;
        store.log.save_vote(&vote(term)).await.unwrap();
        for _ in 0..dice.roll(25) {
            let next = log.last().map_or(0, |(_, index)| index + 1);
            match dice.roll(6) {
                0 => {
                    term += dice.roll(2);
                    store.log.save_vote(&vote(term)).await.unwrap();
                }
                1 if next > applied => {
                    let keep = applied + dice.roll(next - applied);
                    log.retain(|(_, index)| *index < keep);
                    store.log.truncate_after(log.last().map(|(term, index)| log_id(*term, *index))).await.unwrap();
                }
                2 if next > applied => {
                    apply(
                        &mut store.state,
                        log.iter().filter(|(_, i)| *i >= applied).map(|(t, i)| command(*t, *i, &format!("put k{i} {t}"))),
                    )
                    .await;
                    applied = next;
                }
                3 if applied > 0 => {
                    let upto = dice.roll(applied);
                    let (term, _) = log[usize::try_from(upto).unwrap()];
                    store.log.purge(log_id(term, upto)).await.unwrap();
                }
                _ => {
                    let new: Vec<_> = (next..=next + dice.roll(5)).map(|index| (term, index)).collect();
                    append(&mut store.log, new.iter().map(|(t, i)| command(*t, *i, &format!("put k{i} {t}")))).await;
                    log.extend(new);
                }
            }
        }
        // A last append, so that a truncation before it is durable too.
        let next = log.last().map_or(0, |(_, index)| index + 1);
        append(&mut store.log, [command(term, next, "put last one")]).await;
        log.push((term, next));
        let kept = usize::try_from(dice.roll(4)).unwrap();
        let after = after_power_loss(&disk, kept);
        drop(store);
        disk = after;
        check(folder, &disk, term, &log).await;
    }
}

async fn check(folder: &std::path::Path, disk: &MemoryDisk, term: u64, log: &[(u64, u64)]) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder, copy.path());
    let mut store = open(copy.path(), &after_power_loss(disk, 0)).unwrap();
    assert_eq!(read_vote(&mut store.log).await, Some(vote(term)));
    let found = entries(&mut store.log).await;
    let first = indices(&mut store.log).await.first().copied().unwrap();
    let expected: Vec<_> = log.iter().filter(|(_, index)| *index >= first).map(|(term, index)| log_id(*term, *index)).collect();
    assert_eq!(found.iter().map(|entry| entry.log_id).collect::<Vec<_>>(), expected);
    store.events.verify(0, u64::MAX).unwrap();
    let _: Arc<_> = store.shared;
}
