//! Who reads a pack goes on when it is unlinked, and what it occupies counts until then.

use super::super::space::disk_usage;
use super::*;

/// The files of the format, the pack that was made ahead, and the last block of the one that takes blobs.
const UNCOUNTED: u64 = 4 * 4096;

/// More than one frame, and no more than half of a small store.
const SINGLE: usize = 2_000_000;

#[tokio::test]
async fn reader_of_a_compacted_pack_gets_its_bytes_and_they_count_until_it_ends() {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let (kept, _) = filled(&store).await;
    let shared = store.blobs.shared();
    let (digest, content) = &blob(0, 3000);
    let mut frames = shared.frames(digest, 0..digest.size()).unwrap();
    let_go(&store);
    let mut given = GivenBack::default();
    shared.switch(shared.copy_all(), &mut given).unwrap();
    assert!(given.packs > 3 && !packs(&*disk).contains(&"packs/01/00000001.pack".to_owned()), "{given:?}");
    let held = store.blobs.figures().used;
    assert!(disk_usage(&memory) <= held + UNCOUNTED, "{} {held}", disk_usage(&memory));
    assert_eq!(shared.next_frame(digest, &mut frames).unwrap().unwrap(), content);
    assert!(shared.next_frame(digest, &mut frames).unwrap().is_none());
    assert_eq!(store.blobs.give_back(false).unwrap().freed, 0, "it still has the file open");
    drop(frames);
    let freed = store.blobs.give_back(false).unwrap().freed;
    assert!(freed > 200_000, "{freed}");
    assert_eq!(store.blobs.figures().used, held - freed);
    assert_eq!(shared.space.for_compaction(), shared.space.limits().for_compaction, "nothing is owed");
    assert_kept(&store, &kept, "afterwards").await;
}

#[tokio::test]
async fn reader_of_a_large_blob_that_was_let_go_gets_all_of_it_and_it_counts_until_then() {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let large = blob(1, SINGLE);
    put(&store.blobs, &large).await.unwrap();
    store.blobs.background_sync();
    let mut reader = store.blobs.open_blob(&large.0, 0, None).await.unwrap();
    let mut content = reader.next().await.unwrap().unwrap().to_vec();
    let used = store.blobs.figures().used;
    let_go(&store);
    let given = store.blobs.give_back(false).unwrap();
    let sealed = packs(&*disk).iter().filter(|name| name.ends_with(".pack")).count();
    assert_eq!((given.packs, given.freed, sealed), (1, 0, 0));
    assert_eq!(store.blobs.figures().used, used);
    assert!(disk_usage(&memory) <= used + UNCOUNTED);
    while let Some(piece) = reader.next().await.unwrap() {
        content.extend_from_slice(&piece);
    }
    assert!(content == large.1);
    drop(reader);
    assert!(store.blobs.give_back(false).unwrap().freed > SINGLE as u64);
    assert!(store.blobs.figures().used < used - SINGLE as u64);
}

#[tokio::test]
async fn used_never_exceeds_the_limit_while_all_victims_are_being_read() {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let shared = store.blobs.shared();
    let (mut held, mut waterline) = (Vec::new(), NOW);
    let (mut moved, mut refused) = (0, 0);
    for round in 0..40_u64 {
        for number in 0..30 {
            let one = blob(round * 100 + number, 9000 + 600 * number as usize);
            match put(&store.blobs, &one).await {
                Ok(()) if number % 6 == 0 => {
                    store.blobs.raise(&[one.0], waterline.plus(400));
                    held.extend(shared.frames(&one.0, 0..one.0.size()));
                }
                Ok(()) => {}
                Err(Error::NoSpace { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            assert!(disk_usage(&memory) <= 8_000_000 && store.blobs.figures().used <= 8_000_000);
        }
        store.blobs.background_sync();
        waterline = waterline.plus(100);
        store.clock.advance(100);
        store.blobs.set_waterline(waterline);
        drop_below(shared);
        for _ in 0..3 {
            moved += store.blobs.give_back(round % 2 == 0).unwrap().moved;
            let (on_disk, figures) = (disk_usage(&memory), store.blobs.figures());
            assert!(
                on_disk <= figures.used + UNCOUNTED && figures.used <= 8_000_000,
                "{on_disk} {figures:?}"
            );
        }
        if round % 10 == 9 {
            held.clear();
        }
    }
    assert!(moved > 1_000_000 && refused > 0, "{moved} {refused}");
    held.clear();
    store.blobs.set_waterline(waterline.plus(1000));
    drop_below(shared);
    store.blobs.close(NOW).unwrap();
}

#[tokio::test]
async fn volume_without_room_for_a_copy_is_not_written_to() {
    let (memory, disk) = memory();
    let store = open_small(&disk, Level::ZERO);
    let (kept, _) = filled(&store).await;
    let_go(&store);
    let space = memory.space().unwrap();
    // Without the ballast, which would make room for one.
    memory.set_capacity(space.total - space.available);
    assert!(store.blobs.give_up_ballast());
    let full = memory.space().unwrap();
    memory.set_capacity(full.total - full.available + 100_000);
    for _ in 0..3 {
        let before = store.blobs.shared().packs.last_id();
        assert!(matches!(store.blobs.give_back(true), Err(Error::NoSpace { .. })));
        assert_eq!(store.blobs.shared().packs.last_id(), before);
    }
    assert_eq!(store.blobs.figures().poisoned, None);
    memory.set_capacity(space.total);
    assert!(store.blobs.give_back(true).unwrap().moved > 0);
    assert_kept(&store, &kept, "afterwards").await;
}
