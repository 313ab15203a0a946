//! What happens between copying and switching: uploads, uses, letting go, snapshots, a stop.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::damage::flip_bit_in;
use super::*;

/// A store on which most was let go, with copies made and not in force.
async fn copied() -> (Arc<MemoryDisk>, Store, Kept, Vec<Digest>, crate::blobs::compaction::Copied) {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let (kept, others) = filled(&store).await;
    let_go(&store);
    let copied = store.blobs.shared().copy_all();
    (memory, store, kept, others, copied)
}

fn content_of(number: u64) -> (Digest, Bytes) {
    blob(number, 3000 + 400 * number as usize)
}

#[tokio::test]
async fn what_was_let_go_while_it_was_copied_stays_gone() {
    let (_, store, mut kept, _, copied) = copied().await;
    let shared = store.blobs.shared();
    let gone = content_of(4).0;
    let higher = WATERLINE.plus(5);
    assert!(kept[&gone].1 < higher);
    store.blobs.set_waterline(higher);
    drop_below(shared);
    shared.switch(copied, &mut GivenBack::default()).unwrap();
    kept.retain(|_, (_, level)| *level >= higher);
    assert_kept(&store, &kept, "after the switch").await;
    store.blobs.set_waterline(Level::ZERO);
    assert_eq!(missing(&store.blobs, &[gone]), [gone]);
    // All of the target goes when the last of it is let go, although not all that was copied ever counted.
    store.blobs.set_waterline(Level::PINNED);
    drop_below(shared);
    assert!(give_all_back(&store.blobs).unwrap().packs > 0);
    assert_eq!(used_besides(&store), 259 * 4096 - unsealed_difference(&store));
}

/// What the packs that take blobs occupy beyond what is counted for them: the one made ahead is not counted.
fn unsealed_difference(store: &Store) -> u64 {
    let shared = store.blobs.shared();
    let counted: u64 = shared.packs.unsealed().iter().map(|group| group.target().counters.counted()).sum();
    pack_bytes_on(&*shared.disk) - counted
}

#[tokio::test]
async fn uses_and_uploads_while_it_was_copied_are_respected() {
    let (memory, store, mut kept, others, copied) = copied().await;
    let shared = store.blobs.shared();
    let (used, again, new) = (content_of(0), content_of(8), content_of(1));
    assert!(others.contains(&new.0));
    store.blobs.raise(&[used.0], WATERLINE.plus(999));
    kept.insert(used.0, (used.1, WATERLINE.plus(999)));
    // It is there already and durable: the bytes that come in now are neither.
    store.clock.advance(500);
    let place = |digest: &Digest| {
        shared.index.get(shared.index.key(digest), Level::ZERO).map(|entry| entry.location.place)
    };
    let before = place(&again.0);
    let waterline = store.blobs.waterline();
    let mut upload = store.blobs.create(again.0).await.unwrap();
    upload.write(again.1.clone()).await.unwrap();
    shared.append(std::slice::from_ref(&again), shared.space.claim()).pop().unwrap().unwrap();
    upload.finish().await.unwrap();
    assert_eq!((place(&again.0), store.blobs.waterline()), (before, waterline));
    kept.insert(again.0, (again.1, NOW.plus(500)));
    // It was let go and comes in anew.
    put(&store.blobs, &new).await.unwrap();
    let came_to = place(&new.0);
    shared.switch(copied, &mut GivenBack::default()).unwrap();
    assert_eq!(place(&new.0), came_to);
    kept.insert(new.0, (new.1.clone(), NOW.plus(500)));
    assert_kept(&store, &kept, "after the switch").await;
    // Nobody synced what was uploaded.
    kept.remove(&new.0);
    let crashed: Arc<dyn Disk> = Arc::new(memory.crash(0));
    let store = open_small(&crashed, Level::ZERO);
    for (digest, (content, _)) in &kept {
        assert_eq!(read(&store.blobs, digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn snapshot_between_copying_and_switching_has_all_levels() {
    for switched in [false, true] {
        let (memory, store, kept, _, copied) = copied().await;
        store.blobs.snapshot(NOW).unwrap();
        if switched {
            store.blobs.shared().switch(copied, &mut GivenBack::default()).unwrap();
        }
        for seed in [0, 1, 2, 3] {
            let crashed: Arc<dyn Disk> = Arc::new(memory.crash(seed));
            let store = open_small(&crashed, Level::ZERO);
            assert!(store.started.snapshot.is_some());
            assert_kept(&store, &kept, &format!("switched: {switched}, image {seed}")).await;
        }
    }
}

#[tokio::test]
async fn snapshot_that_begins_in_the_middle_of_the_switch_waits_for_its_end() {
    for round in 0..8 {
        let (memory, disk) = memory();
        let store = open_small(&disk, Level::ZERO);
        let mut kept = Kept::new();
        for number in 0..6 {
            let tiny: Vec<_> = (0..1000).map(|tiny| blob(number * 1000 + tiny, 90)).collect();
            assert!(store.blobs.put_many(tiny.clone()).await.iter().all(Result::is_ok));
            kept.extend(tiny.into_iter().map(|(digest, content)| (digest, (content, NOW))));
        }
        let raised = store.blobs.raise(&kept.keys().copied().collect::<Vec<_>>(), Level::ZERO);
        store.blobs.sync(&raised.unsynced).await.unwrap();
        store.blobs.background_sync();
        let shared = store.blobs.shared();
        let copied = shared.copy_all();
        let (before, began) = (shared.packs.sealed_lens().len(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                began.store(true, Ordering::SeqCst);
                // The moment at which the target is known.
                while shared.packs.sealed_lens().len() == before {}
                store.blobs.snapshot(NOW).unwrap();
            });
            while !began.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            shared.switch(copied, &mut GivenBack::default()).unwrap();
        });
        // With the packs that were unlinked really gone.
        let crashed: Arc<dyn Disk> = Arc::new(memory.crash(1));
        let store = open_small(&crashed, Level::ZERO);
        let digests: Vec<Digest> = kept.keys().copied().collect();
        assert_eq!(missing(&store.blobs, &digests).len(), 0, "round {round}");
    }
}

#[tokio::test]
async fn bad_record_is_not_copied_and_the_others_are() {
    let (_, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let (mut kept, _) = filled(&store).await;
    let_go(&store);
    let bad = content_of(4);
    flip_bit_in(&*disk, &bad.1[1000..1032]);
    kept.remove(&bad.0);
    let shared = store.blobs.shared();
    let epoch = store.blobs.epoch();
    shared.switch(shared.copy_all(), &mut GivenBack::default()).unwrap();
    assert_eq!((store.damage().len(), store.blobs.epoch()), (1, epoch + 1));
    assert_eq!(missing(&store.blobs, &[bad.0]), [bad.0]);
    store.damage.lock().unwrap().clear();
    assert_kept(&store, &kept, "the others").await;
    let bad_pack = format::PackId::new(1).path(format::PackState::Sealed);
    assert!(disk.open(&bad_pack).is_err(), "the pack with the bad record is gone");
    store.clock.advance(100);
    put(&store.blobs, &bad).await.unwrap();
    assert_eq!(read(&store.blobs, &bad.0).await.unwrap(), bad.1);
}

#[tokio::test]
async fn store_that_was_closed_meanwhile_stays_as_it_was_closed() {
    let (_, store, kept, _, copied) = copied().await;
    let shared = store.blobs.shared();
    store.blobs.close(NOW).unwrap();
    let before = packs(&*shared.disk);
    let mut given = GivenBack::default();
    shared.switch(copied, &mut given).unwrap();
    assert_eq!(given, GivenBack::default());
    let after = packs(&*shared.disk);
    assert!(after.len() == before.len() - 1, "the target is gone, and nothing else: {before:?} {after:?}");
    assert_eq!(store.blobs.give_back(true).unwrap(), GivenBack::default());
    assert_kept(&store, &kept, "closed").await;
    let again = open_small(&shared.disk, WATERLINE);
    assert!(again.started.clean);
    assert_kept(&again, &kept, "opened again").await;
}
