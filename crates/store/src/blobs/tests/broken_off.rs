//! Work that does not come to its end: a panic in it, a caller that goes away, another pack's fault meanwhile.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use rustix::io::Errno;

use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk};

fn faulty(memory: &Arc<MemoryDisk>, call: Call, nth: u64, effect: Effect) -> Arc<dyn Disk> {
    Arc::new(FaultyDisk::new(memory.clone(), Fault { call: Some(call), nth, effect, lasting: false }))
}

/// A volume that is made and empty.
fn made() -> Arc<MemoryDisk> {
    let (memory, disk) = memory();
    open(&disk).blobs.close(NOW).unwrap();
    memory
}

#[tokio::test]
async fn panic_at_a_write_of_a_blob_poisons() {
    // The first write is that of the new pack's header, the second the record; a large one ends with two more.
    for (nth, len) in [(1, 100), (2, 100), (2, LARGE), (3, LARGE), (4, LARGE)] {
        let store = open(&faulty(&made(), Call::Write, nth, Effect::Unwind));
        let what = format!("write {nth} of {len} bytes");
        let one = blob(1, len);
        let taken = put(&store.blobs, &one).await;
        // The writes of a large blob before its end are nothing to anybody yet.
        if len == 100 || nth > 2 {
            assert!(taken.is_err(), "{what}");
            assert!(store.blobs.figures().poisoned.is_some(), "{what}");
            assert!(matches!(put(&store.blobs, &blob(2, 10)).await, Err(Error::Poisoned(_))), "{what}");
        }
        assert_eq!(missing(&store.blobs, &[one.0]), [one.0], "{what}");
    }
}

#[tokio::test]
async fn panic_at_the_sync_of_a_pack_poisons_and_those_who_wait_are_told() {
    for (nth, len) in [(2, 100), (1, LARGE)] {
        let store = open(&faulty(&made(), Call::Sync, nth, Effect::Unwind));
        let one = blob(1, len);
        put(&store.blobs, &one).await.unwrap();
        let points = store.blobs.raise(&[one.0], NOW).unsynced;
        for _ in 0..2 {
            assert!(matches!(store.blobs.sync(&points).await, Err(Error::Poisoned(_))), "{len} bytes");
        }
        assert!(matches!(put(&store.blobs, &blob(2, 10)).await, Err(Error::Poisoned(_))), "{len} bytes");
    }
}

#[tokio::test]
async fn reader_that_failed_goes_on_failing() {
    let memory = made();
    let disk: Arc<dyn Disk> = memory.clone();
    let one = blob(1, LARGE);
    let store = open(&disk);
    put(&store.blobs, &one).await.unwrap();
    store.blobs.close(NOW).unwrap();
    for path in restart::packs(&*disk) {
        let file = disk.open(std::path::Path::new(&path)).unwrap();
        if file.len().unwrap() > LARGE as u64 {
            file.write_at(&[0x55; 100], 1_500_000).unwrap();
            file.sync().unwrap();
        }
    }
    let store = open(&disk);
    let mut reader = store.blobs.open_blob(&one.0, 0, None).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    assert!(matches!(reader.next().await, Err(Error::Missing)));
    assert!(matches!(reader.next().await, Err(Error::Busy(_))), "never a clean end");
}

#[tokio::test]
async fn reader_whose_call_was_dropped_does_not_end_as_if_complete() {
    let memory = made();
    let disk: Arc<dyn Disk> = memory.clone();
    let one = blob(1, LARGE);
    let store = open(&disk);
    put(&store.blobs, &one).await.unwrap();
    store.blobs.close(NOW).unwrap();
    // One read fails: if it is one that was not to wait, the piece is fetched on another thread. That may be there
    // before it is asked for, so each read fails many times over.
    for nth in (1..40).cycle().take(40 * 100) {
        let disk = faulty(&memory, Call::Read, nth, Effect::Fail(Errno::NOMEM));
        let Ok(store) = try_open(&disk, &options(), Level::ZERO, &[]) else { continue };
        let Ok(mut reader) = store.blobs.open_blob(&one.0, 0, None).await else { continue };
        for _ in 0..3 {
            let dropped = {
                let mut next = pin!(reader.next());
                poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await
            };
            if dropped {
                assert!(matches!(reader.next().await, Err(Error::Busy(_))));
                return;
            }
        }
    }
    panic!("no call had to wait");
}

#[test]
fn sync_is_refused_if_another_pack_poisoned_the_store_meanwhile() {
    // The only thread that may wait for the disk is kept, so that the sync is under way until it is let go.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (memory, disk) = memory();
    let store = open(&disk);
    let (large, small) = (blob(1, LARGE), blob(2, 100));
    runtime.block_on(async {
        put(&store.blobs, &large).await.unwrap();
        put(&store.blobs, &small).await.unwrap();
        let points = store.blobs.raise(&[large.0], NOW).unsynced;
        let (let_go, kept) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || kept.recv());
        let mut sync = pin!(store.blobs.sync(&points));
        assert!(poll_fn(|context| Poll::Ready(sync.as_mut().poll(context).is_pending())).await);
        drop(let_go);
        while !store.blobs.unsynced(&points).is_empty() {
            std::thread::yield_now();
        }
        memory.fail_next_sync(".open", Errno::IO, 0);
        store.blobs.background_sync();
        assert!(store.blobs.figures().poisoned.is_some());
        assert!(matches!(sync.await, Err(Error::Poisoned(_))));
    });
}

#[tokio::test]
async fn passing_error_of_the_system_is_still_one_for_each_blob() {
    let store = open(&faulty(&made(), Call::Create, 1, Effect::Fail(Errno::MFILE)));
    let results = store.blobs.put_many(vec![blob(1, 10), blob(2, 10)]).await;
    assert_eq!(results.len(), 2);
    for result in results {
        assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
    }
    put(&store.blobs, &blob(1, 10)).await.unwrap();
}

#[tokio::test]
async fn failed_snapshot_leaves_no_file_behind() {
    let memory = made();
    for call in [Call::Write, Call::Sync, Call::Rename] {
        let disk: Arc<dyn Disk> = Arc::new(memory.crash(1));
        let fault = Fault { call: Some(call), nth: 1, effect: Effect::Fail(Errno::NOSPC), lasting: false };
        let faulty: Arc<dyn Disk> = Arc::new(FaultyDisk::new(disk.clone(), fault));
        let store = open(&faulty);
        assert!(matches!(store.blobs.snapshot(NOW), Err(Error::NoSpace { .. })), "{call:?}");
        let names = disk.list(std::path::Path::new("")).unwrap();
        assert!(names.iter().all(|entry| entry.name != "snapshot.new"), "{call:?}: {names:?}");
        store.blobs.snapshot(NOW).unwrap();
    }
}
