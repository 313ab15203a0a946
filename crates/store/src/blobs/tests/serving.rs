use super::*;
use crate::disk::RealDisk;

/// What must hold on any disk.
async fn blobs_are_taken_in_and_given_back(disk: Arc<dyn Disk>) {
    let store = open(&disk);
    let blobs = &store.blobs;
    let small: Vec<_> = (0..300).map(|number| blob(number, number as usize * 37 % 9000 + 1)).collect();
    let large =
        [blob(1, LARGE), blob(2, 1 << 20), blob(3, (1 << 20) + 1), blob(4, 128 * 1024), blob(5, 262_143)];
    assert!(blobs.put_many(small.clone()).await.iter().all(Result::is_ok));
    for blob in &large {
        upload(blobs, blob).await.unwrap();
    }
    let all: Vec<_> = small.iter().chain(&large).cloned().collect();
    let digests: Vec<Digest> = all.iter().map(|(digest, _)| *digest).collect();
    for check_again_after in ["writing", "syncing", "a restart"] {
        assert_eq!(missing(blobs, &digests), []);
        for (digest, content) in &all {
            assert_eq!(read(blobs, digest).await.unwrap(), content, "{digest} after {check_again_after}");
            assert_eq!(blobs.read_small(digest).unwrap(), content);
            blobs.verify(digest).unwrap();
        }
        let many = blobs.read_many(&digests).await;
        assert!(many.into_iter().zip(&all).all(|(read, (_, content))| read.unwrap() == content));
        make_durable(blobs, &digests).await.unwrap();
        assert!(blobs.raise(&digests, NOW).unsynced.is_empty());
    }
    blobs.close(NOW).unwrap();
    let store = open(&disk);
    assert!(store.started.clean && store.started.blobs == all.len());
    assert_eq!(store.blobs.raise(&digests, NOW).unchecked.len(), all.len());
    for (digest, content) in &all {
        assert_eq!(read(&store.blobs, digest).await.unwrap(), content);
        store.blobs.verify(digest).unwrap();
    }
    assert_eq!(store.blobs.raise(&digests, NOW).unchecked, []);
    assert_eq!(store.damage(), []);
}

#[tokio::test]
async fn blobs_are_taken_in_and_given_back_on_the_memory_disk() {
    blobs_are_taken_in_and_given_back(memory().1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_taken_in_and_given_back_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    blobs_are_taken_in_and_given_back(Arc::new(RealDisk::open(folder.path()).unwrap())).await;
}

#[tokio::test]
async fn ranges_of_small_and_large_blobs_are_cut_where_asked() {
    let (_, disk) = memory();
    let store = open(&disk);
    for blob in [blob(1, LARGE), blob(2, 1000)] {
        put(&store.blobs, &blob).await.unwrap();
        let size = blob.1.len();
        let offsets = [0, 1, 999, 1 << 20, (1 << 20) - 1, size - 1, size];
        for offset in offsets.into_iter().filter(|offset| *offset <= size) {
            for len in [None, Some(0), Some(1), Some((1 << 20) + 1), Some(usize::MAX)] {
                let end = len.map_or(size, |len| offset.saturating_add(len).min(size));
                let read = read_range(&store.blobs, &blob.0, offset as u64, len.map(|len| len as u64)).await;
                assert!(read.unwrap() == blob.1[offset..end], "{offset} {len:?} of {size}");
            }
        }
    }
}

#[tokio::test]
async fn empty_blob_is_always_there() {
    let (_, disk) = memory();
    let store = open(&disk);
    let empty = (Digest::EMPTY, Bytes::new());
    assert!(store.blobs.contains(&empty.0));
    assert_eq!(missing(&store.blobs, &[empty.0]), []);
    assert_eq!(store.blobs.raise(&[empty.0], NOW), Raised::default());
    assert_eq!(read(&store.blobs, &empty.0).await.unwrap(), "");
    assert_eq!(store.blobs.read_small(&empty.0).unwrap(), "");
    store.blobs.verify(&empty.0).unwrap();
    put(&store.blobs, &empty).await.unwrap();
    upload(&store.blobs, &empty).await.unwrap();
    assert_eq!(store.blobs.figures().blobs, 0);
}

#[tokio::test]
async fn what_does_not_match_its_digest_is_refused_and_leaves_nothing() {
    let (_, disk) = memory();
    let store = open(&disk);
    for len in [100, LARGE] {
        let (digest, content) = blob(1, len);
        let mut other = content.to_vec();
        other[50] ^= 1;
        let results = store.blobs.put_many(vec![(digest, other.clone().into()), blob(2, 10)]).await;
        assert!(matches!(results[..], [Err(Error::Mismatch(_)), Ok(())]), "{results:?}");
        assert!(matches!(upload(&store.blobs, &(digest, other.into())).await, Err(Error::Mismatch(_))));
        let short = content.slice(..len - 1);
        assert!(matches!(upload(&store.blobs, &(digest, short)).await, Err(Error::Mismatch(_))));
        let mut long = content.to_vec();
        long.push(0);
        assert!(matches!(upload(&store.blobs, &(digest, long.into())).await, Err(Error::Mismatch(_))));
        assert_eq!(missing(&store.blobs, &[digest]), [digest]);
        assert!(matches!(read(&store.blobs, &digest).await, Err(Error::Missing)));
    }
}

#[tokio::test]
async fn another_size_of_the_same_hash_is_another_blob() {
    let (_, disk) = memory();
    let store = open(&disk);
    let one = blob(1, 100);
    put(&store.blobs, &one).await.unwrap();
    let longer = Digest::from_parts(one.0.function(), *one.0.hash(), 101).unwrap();
    assert_eq!(missing(&store.blobs, &[one.0, longer]), [longer]);
    assert!(matches!(read(&store.blobs, &longer).await, Err(Error::Missing)));
}

#[tokio::test]
async fn upload_dropped_half_way_vanishes() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).unwrap());
    let store = open(&disk);
    let before = store.blobs.figures();
    for len in [1000, 8_000_000] {
        let (digest, content) = blob(1, len);
        let mut upload = store.blobs.create(digest).await.unwrap();
        for piece in content.chunks(len / 4).take(3) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert!(store.blobs.figures().used > before.used, "what was received is reserved");
        drop(upload);
        assert_eq!(missing(&store.blobs, &[digest]), [digest]);
    }
    // Its file goes on the blocking pool.
    while files(folder.path(), "open") > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.blobs.figures().used, before.used);
}

/// How many packs of this ending lie in a data folder.
fn files(folder: &std::path::Path, ending: &str) -> usize {
    let folders = std::fs::read_dir(folder.join("packs")).unwrap();
    let names = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    names
        .filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|found| found == ending))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_uploads_at_the_same_time_all_succeed_and_keep_one_place() {
    let (_, disk) = memory();
    let store = open(&disk);
    for len in [1000, LARGE] {
        let one = blob(1, len);
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let (blobs, one) = (store.blobs.clone(), one.clone());
                tokio::spawn(async move {
                    if number % 2 == 0 { put(&blobs, &one).await } else { upload(&blobs, &one).await }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(read(&store.blobs, &one.0).await.unwrap(), one.1);
        make_durable(&store.blobs, &[one.0]).await.unwrap();
    }
    let figures = store.blobs.figures();
    assert_eq!(figures.blobs, 2);
    assert!(figures.live < (LARGE + 3000) as u64, "{}", figures.live);
}

#[tokio::test]
async fn identical_upload_of_a_durable_blob_leaves_nothing_to_sync() {
    let (_, disk) = memory();
    let store = open(&disk);
    for len in [1000, LARGE] {
        let one = blob(1, len);
        // Two uploads begin before the first ends, so the second cannot know.
        let mut first = store.blobs.create(one.0).await.unwrap();
        let mut second = store.blobs.create(one.0).await.unwrap();
        first.write(one.1.clone()).await.unwrap();
        second.write(one.1.clone()).await.unwrap();
        first.finish().await.unwrap();
        make_durable(&store.blobs, &[one.0]).await.unwrap();
        second.finish().await.unwrap();
        assert!(store.blobs.raise(&[one.0], NOW).unsynced.is_empty());
    }
}

#[tokio::test]
async fn blob_below_the_waterline_is_missing_and_can_be_uploaded_again() {
    let (_, disk) = memory();
    let store = open(&disk);
    let (old, used) = (blob(1, 100), blob(2, 100));
    for blob in [&old, &used] {
        put(&store.blobs, blob).await.unwrap();
    }
    store.blobs.raise(&[used.0], NOW.plus(50));
    store.blobs.set_waterline(NOW.plus(1));
    assert_eq!(missing(&store.blobs, &[old.0, used.0]), [old.0]);
    assert!(matches!(read(&store.blobs, &old.0).await, Err(Error::Missing)));
    assert!(!store.blobs.contains(&old.0));
    store.clock.advance(10);
    put(&store.blobs, &old).await.unwrap();
    assert_eq!(read(&store.blobs, &old.0).await.unwrap(), old.1);
    assert_eq!(missing(&store.blobs, &[old.0, used.0]), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn putting_reading_and_raising_at_the_same_time_loses_nothing() {
    let (_, disk) = memory();
    let store = open(&disk);
    let tasks: Vec<_> = (0..6_u64)
        .map(|task| {
            let blobs = store.blobs.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for round in 0..40 {
                    let number = task * 1000 + round;
                    let batch = vec![blob(number, 200), blob(number, 20_000), blob(round, 5000)];
                    assert!(blobs.put_many(batch.clone()).await.iter().all(Result::is_ok));
                    mine.extend(batch);
                    let digests: Vec<Digest> = mine.iter().map(|(digest, _)| *digest).collect();
                    let raised = blobs.raise(&digests, NOW.plus(1));
                    assert_eq!(raised.missing, []);
                    blobs.sync(&raised.unsynced).await.unwrap();
                    assert!(blobs.unsynced(&raised.unsynced).is_empty());
                    let (digest, content) = &mine[(round as usize * 7) % mine.len()];
                    assert_eq!(read(&blobs, digest).await.unwrap(), *content);
                }
                mine
            })
        })
        .collect();
    let upkeep = store.blobs.clone();
    let upkeep = tokio::task::spawn_blocking(move || {
        for round in 0..20 {
            upkeep.background_sync();
            upkeep.snapshot(NOW.plus(round)).unwrap();
        }
    });
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    upkeep.await.unwrap();
    for (digest, content) in &all {
        assert_eq!(read(&store.blobs, digest).await.unwrap(), *content);
    }
    // A crash now, with the last of those snapshots.
    let store = open(&disk);
    let digests: Vec<Digest> = all.iter().map(|(digest, _)| *digest).collect();
    assert_eq!(missing(&store.blobs, &digests), []);
}

#[tokio::test]
async fn looking_raises_nothing_and_reading_does() {
    let store = open(&memory().1);
    let (one, other) = (blob(1, 5000), blob(2, 5000));
    for blob in [&one, &other] {
        put(&store.blobs, blob).await.unwrap();
    }
    store.clock.advance(100);
    assert_eq!(store.blobs.peek_small(&one.0).unwrap(), one.1);
    assert!(store.blobs.inventory().find(&one.0).is_some());
    assert_eq!(store.blobs.bytes_above(NOW), 0);
    store.blobs.read_small(&other.0).unwrap();
    assert_eq!(store.blobs.bytes_above(NOW), store.blobs.figures().live / 2);
    assert!(matches!(store.blobs.peek_small(&blob(3, 7).0), Err(Error::Missing)));
}
