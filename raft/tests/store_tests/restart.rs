//! What is there after a store was closed and opened again, on both engines.

use berth_raft::engine::Disk;
use berth_raft::types::TypeConfig;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;

use crate::support::{
    NODE, append, block_on, check_usual_state, command, entries, fill, indices, log_id, members, on_both, open, read_vote, usual,
    usual_event_indices, vote,
};

#[test]
fn vote_log_state_and_events_are_there_after_a_restart() {
    on_both(|folder, disk| {
        let identity = block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 30).await;
            append(&mut store.log, (31..=35).map(|index| usual(1, index))).await;
            store.log.save_committed(Some(log_id(1, 33))).await.unwrap();
            store.log.save_vote(&vote(4)).await.unwrap();
            store.identity
        });
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            assert_eq!(store.identity, identity);
            assert_eq!(read_vote(&mut store.log).await, Some(vote(4)));
            assert_eq!(store.log.read_committed().await.unwrap(), Some(log_id(1, 33)));
            assert_eq!(entries(&mut store.log).await, (0..=35).map(|index| usual(1, index)).collect::<Vec<_>>());
            assert_eq!(check_usual_state(&store), Some(30));
            let (last, membership) = store.state.applied_state().await.unwrap();
            assert_eq!(last, Some(log_id(1, 30)));
            assert_eq!((membership.log_id(), membership.membership()), (&Some(log_id(1, 0)), &members()));
        });
    });
}

#[test]
fn a_truncated_tail_stays_gone_and_the_log_goes_on_after_it() {
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 10).await;
            append(&mut store.log, (11..=20).map(|index| usual(1, index))).await;
            store.log.truncate_after(Some(log_id(1, 14))).await.unwrap();
            assert_eq!(indices(&mut store.log).await, (0..=14).collect::<Vec<_>>());
            store.log.save_vote(&vote(2)).await.unwrap();
            append(&mut store.log, [command(2, 15, "put a b")]).await;
        });
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            let found = entries(&mut store.log).await;
            assert_eq!(found.len(), 16);
            assert_eq!(found.last(), Some(&command(2, 15, "put a b")));
        });
    });
}

#[test]
fn a_purged_log_begins_after_the_purge_and_reads_from_there() {
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 50).await;
            store.log.purge(log_id(1, 40)).await.unwrap();
            // Never back.
            store.log.purge(log_id(1, 20)).await.unwrap();
        });
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            let state = store.log.get_log_state().await.unwrap();
            assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 40)), Some(log_id(1, 50))));
            let mut reader = store.log.get_log_reader().await;
            assert_eq!(reader.try_get_log_entries(30..43).await.unwrap(), [usual(1, 41), usual(1, 42)]);
        });
    });
}

#[test]
fn the_log_refuses_to_purge_what_is_not_applied() {
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 10).await;
            append(&mut store.log, [usual(1, 11)]).await;
            let error = store.log.purge(log_id(1, 11)).await.unwrap_err().to_string();
            assert!(error.contains("purge up to 11"), "{error}");
            assert_eq!(indices(&mut store.log).await.first(), Some(&0));
        });
    });
}

#[test]
fn the_log_refuses_a_hole_a_lower_vote_and_an_older_commit_mark() {
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 3).await;
            let (done, _acknowledged) = TypeConfig::oneshot();
            let error = store.log.append([usual(1, 5)], IOFlushed::signal(done)).await.unwrap_err();
            assert!(error.to_string().contains("cannot follow"), "{error}");
            store.log.save_vote(&vote(3)).await.unwrap();
            assert!(store.log.save_vote(&vote(2)).await.is_err());
            assert_eq!(read_vote(&mut store.log).await, Some(vote(3)));
            store.log.save_committed(Some(log_id(1, 3))).await.unwrap();
            store.log.save_committed(Some(log_id(1, 1))).await.unwrap();
            store.log.save_committed(None).await.unwrap();
            assert_eq!(store.log.read_committed().await.unwrap(), Some(log_id(1, 3)));
        });
    });
}

#[test]
fn a_long_read_comes_in_bounded_pieces_without_a_hole() {
    on_both(|folder, disk| {
        let big = "x".repeat(100_000);
        let entry = |index| command(1, index, &format!("put k {big}{index}"));
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            store.log.save_vote(&vote(1)).await.unwrap();
            // More than the cache of recent entries holds.
            for start in (0..200).step_by(10) {
                append(&mut store.log, (start..start + 10).map(entry)).await;
            }
            let mut reader = store.log.get_log_reader().await;
            for start in [0, 150] {
                let piece = reader.limited_get_log_entries(start, 200).await.unwrap();
                assert!((1..=12).contains(&piece.len()), "{} entries of 100 kB", piece.len());
                assert_eq!(piece[0].log_id.index, start);
            }
            assert_eq!(reader.try_get_log_entries(..).await.unwrap().len(), 200);
            let streamed: Vec<_> = futures::StreamExt::collect(reader.entries_stream(0..200).await).await;
            assert_eq!(streamed.into_iter().map(|entry| entry.unwrap().log_id.index).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
        });
    });
}

#[test]
fn history_is_read_by_revision_and_never_splits_one() {
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 20).await;
            let all = usual_event_indices(20);
            assert!(all.windows(2).any(|pair| pair[0] == pair[1]), "the test needs a revision with two events");
            for limit in 1..=all.len() {
                let (mut after, mut found) = (0, Vec::new());
                loop {
                    let page = store.events.events(after, limit).unwrap();
                    let Some(last) = page.last() else { break };
                    after = last.position.index;
                    found.extend(page.iter().map(|event| event.position.index));
                }
                assert_eq!(found, all, "pages of {limit}");
            }
        });
    });
}

#[test]
fn a_snapshot_is_there_after_a_restart_and_the_history_outlives_the_purge() {
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 30).await;
            let mut builder = store.state.try_create_snapshot_builder(true).await.unwrap();
            let snapshot = builder.build_snapshot().await.unwrap();
            assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 30)));
            store.log.purge(log_id(1, 30)).await.unwrap();
        });
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            let snapshot = store.state.get_current_snapshot().await.unwrap().unwrap();
            assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 30)));
            assert_eq!(snapshot.meta.last_membership.membership().voter_ids().collect::<Vec<_>>(), [NODE]);
            assert_eq!(indices(&mut store.log).await, Vec::<u64>::new());
            assert_eq!(check_usual_state(&store), Some(30));
        });
    });
}

#[test]
fn two_stores_cannot_be_open_on_one_folder() {
    on_both(|folder, disk: &dyn Disk| {
        let first = open(folder, disk).unwrap();
        let error = open(folder, disk).err().unwrap().to_string();
        assert!(error.contains("is in use") && error.contains("Stop that one"), "{error}");
        drop(first);
        open(folder, disk).unwrap();
    });
}
