//! Calls that fail while the power stays on.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk};

fn small_options() -> BlobsOptions {
    BlobsOptions { limit: Some(8_000_000), ..BlobsOptions::default() }
}

fn all_blobs() -> Vec<(Digest, Bytes)> {
    (0..6)
        .map(|number| blob(number, 60_000))
        .chain([blob(7, 1_200_000), blob(8, 90_000), blob(9, 10)])
        .collect()
}

/// Puts and makes durable each blob by itself; which of them were taken, and with which errors the others were not.
async fn publish_each(blobs: &Blobs, all: &[(Digest, Bytes)]) -> (Vec<(Digest, Bytes)>, Vec<Error>) {
    let (mut durable, mut errors) = (Vec::new(), Vec::new());
    for one in all {
        let result = match put(blobs, one).await {
            Ok(()) => {
                let raised = blobs.raise(&[one.0], NOW);
                if raised.missing.is_empty() {
                    blobs.sync(&raised.unsynced).await
                } else {
                    Err(Error::Missing)
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => durable.push(one.clone()),
            Err(error) => errors.push(error),
        }
    }
    blobs.background_sync();
    (durable, errors)
}

async fn all_are_read(blobs: &Blobs, all: &[(Digest, Bytes)], what: &str) {
    for (digest, content) in all {
        let read = read(blobs, digest).await;
        assert!(
            read.as_ref().is_ok_and(|read| read == content),
            "{what}: {digest} {:?}",
            read.map(|read| read.len())
        );
    }
}

/// Runs with a fault at the n-th call of a kind, for every n; the fault passes. Gives what was durable, the errors,
/// the store and the disk below to `check`.
async fn at_every(
    call: Call,
    effect: Effect,
    mut check: impl AsyncFnMut(&Store, &MemoryDisk, Vec<(Digest, Bytes)>, Vec<Error>, String),
) {
    let (base, disk) = memory();
    try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap().blobs.close(NOW).unwrap();
    for nth in 1.. {
        let memory = Arc::new(base.crash(1));
        let fault = Fault { call: Some(call), nth, effect, lasting: false };
        let faulty = Arc::new(FaultyDisk::new(memory.clone(), fault));
        let disk: Arc<dyn Disk> = faulty.clone();
        let Ok(store) = try_open(&disk, &small_options(), Level::ZERO, &[]) else { continue };
        let (durable, errors) = publish_each(&store.blobs, &all_blobs()).await;
        if !faulty.has_struck() {
            assert!(nth > 3 && durable.len() == all_blobs().len());
            return;
        }
        check(&store, &memory, durable, errors, format!("{call:?} {nth} {effect:?}")).await;
    }
}

#[tokio::test]
async fn lack_of_space_at_each_call_refuses_and_heals() {
    for call in [Call::Write, Call::Create, Call::Sync, Call::SyncFolder, Call::Rename] {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            at_every(call, Effect::CutShort(errno), async |store, memory, durable, errors, what| {
                assert!(
                    errors.iter().all(|error| matches!(error, Error::NoSpace { .. })),
                    "{what}: {errors:?}"
                );
                all_are_read(&store.blobs, &durable, &what).await;
                assert_eq!(store.blobs.figures().poisoned, None, "{what}");
                let (durable, errors) = publish_each(&store.blobs, &all_blobs()).await;
                assert!(errors.is_empty() && durable.len() == all_blobs().len(), "{what}: {errors:?}");
                all_are_read(&store.blobs, &durable, &what).await;
                let disk: Arc<dyn Disk> = Arc::new(memory.crash(0));
                let again = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
                all_are_read(&again.blobs, &durable, &what).await;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn other_errors_at_each_write_and_sync_poison_and_reads_go_on() {
    for call in [Call::Write, Call::Sync, Call::SyncFolder, Call::Rename] {
        at_every(call, Effect::CutShort(Errno::IO), async |store, memory, durable, errors, what| {
            all_are_read(&store.blobs, &durable, &what).await;
            let passed = errors.is_empty();
            if !passed {
                assert!(errors.iter().all(|error| matches!(error, Error::Poisoned(_))), "{what}: {errors:?}");
            }
            // Making the next pack, or syncing what nobody waits for, may be what failed.
            assert!(store.blobs.figures().poisoned.is_some(), "{what}");
            assert!(matches!(put(&store.blobs, &blob(77, 10)).await, Err(Error::Poisoned(_))), "{what}");
            assert!(matches!(store.blobs.create(blob(78, 10).0).await, Err(Error::Poisoned(_))), "{what}");
            for seed in 0..3 {
                let disk: Arc<dyn Disk> = Arc::new(memory.crash(seed));
                let again = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
                all_are_read(&again.blobs, &durable, &what).await;
                put(&again.blobs, &blob(77, 10)).await.unwrap();
            }
        })
        .await;
    }
}

/// The page cache goes on showing what a failed sync lost, and the next sync says that all is well.
#[tokio::test]
async fn nothing_that_a_failed_sync_lost_is_promised_afterwards() {
    for suffix in [".open", "packs/01", "packs/02", "packs/03", "snapshot.new", "", "clean"] {
        for (errno, seed) in [(Errno::IO, 0), (Errno::IO, 5), (Errno::NOSPC, 0), (Errno::NOSPC, 6)] {
            let what = format!("sync of {suffix:?} with {errno:?}");
            let (memory, disk) = memory();
            let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
            let first = [blob(50, 4000), blob(51, 150_000)];
            let (mut durable, errors) = publish_each(&store.blobs, &first).await;
            assert!(errors.is_empty());
            memory.fail_next_sync(suffix, errno, seed);
            let _ = store.blobs.snapshot(NOW);
            for _ in 0..2 {
                durable.extend(publish_each(&store.blobs, &all_blobs()).await.0);
                all_are_read(&store.blobs, &durable, &what).await;
            }
            let closed = store.blobs.close(NOW).is_ok();
            for crash in 0..3 {
                let disk: Arc<dyn Disk> = Arc::new(memory.crash(crash));
                let again = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
                all_are_read(&again.blobs, &durable, &what).await;
                // The note of a clean stop is written last: if it is there although its sync failed, it is true.
                assert!(closed || suffix == "clean" || !again.started.clean, "{what}");
                assert_eq!(again.damage(), [], "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_not_durable_when_a_sync_failed_is_missing_at_once() {
    let (memory, disk) = memory();
    let store = open(&disk);
    let (kept, lost) = (blob(1, 100), blob(2, 100));
    put(&store.blobs, &kept).await.unwrap();
    make_durable(&store.blobs, &[kept.0]).await.unwrap();
    put(&store.blobs, &lost).await.unwrap();
    let epoch = store.blobs.epoch();
    memory.fail_next_sync(".open", Errno::IO, 0);
    let points = store.blobs.raise(&[lost.0], NOW).unsynced;
    assert!(matches!(store.blobs.sync(&points).await, Err(Error::Poisoned(_))));
    assert!(matches!(store.blobs.sync(&points).await, Err(Error::Poisoned(_))), "it is not tried again");
    assert_eq!(missing(&store.blobs, &[kept.0, lost.0]), [lost.0]);
    assert!(store.blobs.epoch() > epoch);
    assert_eq!(read(&store.blobs, &kept.0).await.unwrap(), kept.1);
}

#[tokio::test]
async fn sync_without_durability_does_not_touch_the_disk() {
    let (memory, disk) = memory();
    let options = BlobsOptions { durability_off: true, ..options() };
    let store = try_open(&disk, &options, Level::ZERO, &[]).unwrap();
    let one = blob(1, 100);
    put(&store.blobs, &one).await.unwrap();
    make_durable(&store.blobs, &[one.0]).await.unwrap();
    let disk: Arc<dyn Disk> = Arc::new(memory.crash(0));
    let store = try_open(&disk, &options, Level::ZERO, &[]).unwrap();
    assert_eq!(missing(&store.blobs, &[one.0]), [one.0]);
}

/// Three blobs in packs that no footer vouches for, and one more that was written but never synced.
async fn crashed_with_open_packs() -> (Arc<MemoryDisk>, Vec<(Digest, Bytes)>) {
    let (memory, disk) = memory();
    let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
    let durable = vec![blob(50, 4000), blob(51, 10), blob(52, 15_000)];
    for one in &durable {
        put(&store.blobs, one).await.unwrap();
        make_durable(&store.blobs, &[one.0]).await.unwrap();
    }
    put(&store.blobs, &blob(53, 6000)).await.unwrap();
    (memory, durable)
}

fn assert_no_pack_was_renamed(disk: &MemoryDisk, what: &str) {
    for low_byte in 0..=u8::MAX {
        for entry in disk.list(&format::pack_folder(low_byte)).unwrap() {
            assert!(!entry.name.ends_with(".unreadable"), "{what}: {}", entry.name);
        }
    }
}

#[tokio::test]
async fn a_fault_while_a_pack_is_sealed_at_start_costs_nothing_that_was_promised() {
    let (base, durable) = crashed_with_open_packs().await;
    let mut struck = 0;
    for call in [Call::Write, Call::Sync, Call::Rename, Call::SyncFolder] {
        for errno in [Errno::IO, Errno::ROFS, Errno::NOSPC] {
            for nth in 1.. {
                let memory = Arc::new(base.crash(0));
                let fault = Fault { call: Some(call), nth, effect: Effect::CutShort(errno), lasting: false };
                let faulty = Arc::new(FaultyDisk::new(memory.clone(), fault));
                let disk: Arc<dyn Disk> = faulty.clone();
                let started = try_open(&disk, &small_options(), Level::ZERO, &[]);
                if !faulty.has_struck() {
                    break;
                }
                let what = format!("{call:?} {nth} {errno:?}");
                // Before any pack is looked at, a fault in the volume's own files may refuse the start.
                let Ok(store) = started else { continue };
                struck += 1;
                assert_eq!(store.started.set_aside, Vec::<String>::new(), "{what}");
                all_are_read(&store.blobs, &durable, &what).await;
                assert_no_pack_was_renamed(&memory, &what);
                for seed in 0..3 {
                    let disk: Arc<dyn Disk> = Arc::new(memory.crash(seed));
                    let again = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
                    all_are_read(&again.blobs, &durable, &what).await;
                }
            }
        }
    }
    assert!(struck >= 12, "{struck}");
}

/// The process was killed: the page cache has what was written, and the sync at start loses it.
#[tokio::test]
async fn what_the_sync_at_start_lost_is_missing_and_the_rest_is_there() {
    for errno in [Errno::IO, Errno::NOSPC] {
        let (memory, durable) = crashed_with_open_packs().await;
        memory.fail_next_sync(".open", errno, 0);
        let disk: Arc<dyn Disk> = memory.clone();
        let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
        all_are_read(&store.blobs, &durable, "after the sync failed").await;
        assert_eq!(missing(&store.blobs, &[blob(53, 6000).0]), [blob(53, 6000).0]);
        let disk: Arc<dyn Disk> = Arc::new(memory.crash(0));
        let again = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
        all_are_read(&again.blobs, &durable, "after a crash").await;
    }
}

#[tokio::test]
async fn a_pack_that_no_sync_vouches_for_is_left_out_until_the_next_start() {
    for errno in [Errno::IO, Errno::NOSPC] {
        let (memory, durable) = crashed_with_open_packs().await;
        memory.fail_next_sync(".open", errno, 0);
        memory.fail_next_sync(".open", errno, 0);
        let disk: Arc<dyn Disk> = memory.clone();
        let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
        let digests: Vec<Digest> = durable.iter().map(|(digest, _)| *digest).collect();
        assert_eq!(missing(&store.blobs, &digests), digests);
        assert_eq!(store.started.set_aside.len(), 1, "{:?}", store.started.set_aside);
        assert_no_pack_was_renamed(&memory, "left out");
        let again = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
        all_are_read(&again.blobs, &durable, "the next start").await;
    }
}

/// More clients than the blocking pool has threads.
const CLIENTS: u64 = 600;

#[test]
fn reads_go_on_while_every_write_hangs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (base, disk) = memory();
        let large = blob(1, LARGE);
        let store = open(&disk);
        put(&store.blobs, &large).await.unwrap();
        store.blobs.close(NOW).unwrap();
        let effect = Effect::FailAfter(Errno::NOSPC, std::time::Duration::from_secs(8));
        let fault = Fault { call: Some(Call::Write), nth: 1, effect, lasting: false };
        let faulty = Arc::new(FaultyDisk::new(base, fault));
        let disk: Arc<dyn Disk> = faulty.clone();
        let store = open(&disk);
        let mut puts = tokio::task::JoinSet::new();
        let begun = Arc::new(AtomicU64::new(0));
        for number in 0..CLIENTS {
            let (blobs, begun) = (store.blobs.clone(), begun.clone());
            puts.spawn(async move {
                let blob = blob(1000 + number, 50);
                begun.fetch_add(1, Ordering::SeqCst);
                put(&blobs, &blob).await
            });
        }
        while !faulty.has_struck() || begun.load(Ordering::SeqCst) < CLIENTS {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(&store.blobs, &large.0).await.unwrap(), large.1);
        assert!(puts.try_join_next().is_none(), "the read waited for the writes");
        while let Some(result) = puts.join_next().await {
            let result = result.unwrap();
            assert!(matches!(result, Ok(()) | Err(Error::NoSpace { .. })), "{result:?}");
        }
    });
}
