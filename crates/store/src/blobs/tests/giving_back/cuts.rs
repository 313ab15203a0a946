//! The power is cut, or a call fails, at every call of giving back.

use rustix::io::Errno;

use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk};

/// A volume on which most was let go and nothing was given back yet, closed.
async fn prepared() -> (Arc<MemoryDisk>, Kept) {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let (kept, _) = filled(&store).await;
    store.blobs.close(NOW).unwrap();
    (memory, kept)
}

/// Opens the volume and gives all back, as far as the disk goes along.
fn open_and_give_back(disk: &Arc<dyn Disk>) -> Option<(Store, Result<GivenBack>)> {
    let store = try_open(disk, &small_options(), WATERLINE, &[]).ok()?;
    drop_below(store.blobs.shared());
    let given = give_all_back(&store.blobs);
    Some((store, given))
}

/// All that is kept is there and right; levels may have risen to the waterline at an unclean start.
async fn assert_right(store: &Store, kept: &Kept, what: &str) {
    for (digest, (content, level)) in kept {
        let found = read(&store.blobs, digest).await;
        assert!(found.as_ref().is_ok_and(|found| found == content), "{what}: {digest} {level} {found:?}");
    }
    assert_eq!(store.damage(), [], "{what}");
}

#[tokio::test]
async fn power_cut_at_each_call_loses_nothing() {
    let (base, kept) = prepared().await;
    let mut struck = 0;
    for nth in 1.. {
        let memory = Arc::new(base.crash(1));
        let fault = Fault { call: None, nth, effect: Effect::CutShort(Errno::IO), lasting: true };
        let faulty = Arc::new(FaultyDisk::new(memory.clone(), fault));
        let disk: Arc<dyn Disk> = faulty.clone();
        let ran = open_and_give_back(&disk);
        for seed in [0, 1, nth * 2, nth * 2 + 1] {
            let what = format!("cut at call {nth}, image {seed}");
            let disk: Arc<dyn Disk> = Arc::new(memory.crash(seed));
            let (store, given) = open_and_give_back(&disk).unwrap();
            given.unwrap();
            assert_right(&store, &kept, &what).await;
            let again = open_small(&disk, WATERLINE);
            assert_right(&again, &kept, &format!("{what}, once more")).await;
        }
        struck += u32::from(ran.is_some());
        if !faulty.has_struck() {
            assert!(struck > 20 && ran.is_some_and(|(_, given)| given.unwrap().packs > 3), "{struck}");
            return;
        }
    }
}

/// Gives back with a fault at the n-th call of a kind, for every n, and gives what came of it to `check`.
async fn at_every(call: Call, effect: Effect, mut check: impl AsyncFnMut(&Store, &Kept, String)) {
    let (base, kept) = prepared().await;
    let mut checked = 0;
    for nth in 1.. {
        let memory = Arc::new(base.crash(1));
        let fault = Fault { call: Some(call), nth, effect, lasting: false };
        let faulty = Arc::new(FaultyDisk::new(memory.clone(), fault));
        let disk: Arc<dyn Disk> = faulty.clone();
        let Ok(store) = try_open(&disk, &small_options(), WATERLINE, &[]) else { continue };
        if faulty.has_struck() {
            continue;
        }
        drop_below(store.blobs.shared());
        let given = give_all_back(&store.blobs);
        let what = format!("{call:?} {nth} {effect:?}");
        if !faulty.has_struck() {
            assert!(checked > 0 && given.is_ok(), "{what}");
            return;
        }
        checked += 1;
        assert!(given.is_err() || matches!(call, Call::Read | Call::Open), "{what}: {given:?}");
        assert_right(&store, &kept, &what).await;
        check(&store, &kept, what.clone()).await;
        for seed in 0..3 {
            let disk: Arc<dyn Disk> = Arc::new(memory.crash(seed));
            let (again, given) = open_and_give_back(&disk).unwrap();
            given.unwrap();
            assert_right(&again, &kept, &what).await;
        }
    }
}

/// Whether any open pack is left that no one knows of: nothing is uploaded in these tests.
fn targets_left(store: &Store) -> usize {
    packs(&*store.blobs.shared().disk).iter().filter(|name| name.ends_with(".open")).count()
}

#[tokio::test]
async fn lack_of_space_leaves_everything_as_it_is_and_the_next_step_succeeds() {
    for call in [Call::Create, Call::Write, Call::Sync, Call::SyncFolder, Call::Rename] {
        at_every(call, Effect::CutShort(Errno::NOSPC), async |store, kept, what| {
            assert_eq!(store.blobs.figures().poisoned, None, "{what}");
            assert_eq!(targets_left(store), 0, "{what}");
            give_all_back(&store.blobs).unwrap();
            assert_right(store, kept, &what).await;
            assert_eq!(used_besides(store), 259 * 4096, "{what}");
        })
        .await;
    }
}

#[tokio::test]
async fn other_errors_of_writes_and_syncs_poison_and_reads_go_on() {
    for call in [Call::Create, Call::Write, Call::Sync, Call::SyncFolder, Call::Rename] {
        for effect in [Effect::CutShort(Errno::IO), Effect::Fail(Errno::IO)] {
            at_every(call, effect, async |store, _, what| {
                assert!(store.blobs.figures().poisoned.is_some(), "{what}");
                assert_eq!(targets_left(store), 0, "{what}");
                assert_eq!(store.blobs.give_back(true).unwrap(), GivenBack::default(), "{what}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn pack_that_cannot_be_unlinked_is_tried_again() {
    at_every(Call::Remove, Effect::Fail(Errno::IO), async |store, kept, what| {
        assert_eq!(store.blobs.figures().poisoned, None, "{what}");
        give_all_back(&store.blobs).unwrap();
        let packs = pack_bytes_on(&*store.blobs.shared().disk);
        let live: u64 = kept.keys().map(Digest::size).sum();
        assert!(packs < live + 400_000, "{what}: {packs} {live}");
    })
    .await;
}

#[tokio::test]
async fn pack_that_cannot_be_read_for_a_moment_is_left_alone_for_a_while() {
    for call in [Call::Read, Call::Open] {
        at_every(call, Effect::Fail(Errno::MFILE), async |store, kept, what| {
            assert_eq!(store.blobs.figures().poisoned, None, "{what}");
            store.clock.advance(700);
            give_all_back(&store.blobs).unwrap();
            assert_right(store, kept, &what).await;
        })
        .await;
    }
}
