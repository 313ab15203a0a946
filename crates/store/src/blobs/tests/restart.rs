use std::path::Path;

use super::*;
use crate::disk::RealDisk;

/// Two snapshots, with blobs before, between and after them; returns the blobs of the three times.
async fn three_times(disk: &Arc<dyn Disk>) -> [(Digest, Bytes); 3] {
    let store = open(disk);
    let all = [blob(1, 300), blob(2, LARGE), blob(3, 700)];
    for (seconds, one) in (0..).zip(&all) {
        put(&store.blobs, one).await.unwrap();
        make_durable(&store.blobs, &[one.0]).await.unwrap();
        store.blobs.raise(&[all[0].0], NOW.plus(100 * (seconds + 1)));
        if seconds < 2 {
            store.blobs.snapshot(NOW.plus(seconds)).unwrap();
        }
    }
    all
}

fn remove(disk: &dyn Disk, file: &str) {
    disk.remove(Path::new(file)).unwrap();
}

/// Whether the blob has at least this level.
pub(super) fn has_level(blobs: &Blobs, digest: &Digest, level: Level) -> bool {
    let before = blobs.waterline();
    blobs.set_waterline(level);
    let there = blobs.contains(digest);
    blobs.set_waterline(before);
    there
}

#[tokio::test]
async fn a_crash_is_started_from_the_newest_snapshot_the_other_one_or_none() {
    let cases: [(&[&str], Option<u32>, u32); 4] = [
        (&[], Some(1), 200),
        (&["snapshot.b"], Some(0), 100),
        (&["snapshot.a"], Some(1), 200),
        (&["snapshot.a", "snapshot.b"], None, 0),
    ];
    for (gone, snapshot, level) in cases {
        let (_, disk) = memory();
        let all = three_times(&disk).await;
        gone.iter().for_each(|file| remove(&*disk, file));
        let store = open(&disk);
        assert_eq!(store.started.snapshot, snapshot.map(|seconds| NOW.plus(seconds)));
        assert!(!store.started.clean);
        for (digest, content) in &all {
            assert_eq!(read(&store.blobs, digest).await.unwrap(), *content);
        }
        let store = open(&disk);
        assert!(has_level(&store.blobs, &all[0].0, NOW.plus(level)), "without {gone:?}");
        assert!(!has_level(&store.blobs, &all[0].0, NOW.plus(level + 1)), "without {gone:?}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_snapshot_is_answered_by_the_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).unwrap());
    let all = three_times(&disk).await;
    let newest = folder.path().join("snapshot.b");
    let good = std::fs::read(&newest).unwrap();
    for bit in (0..good.len() * 8).step_by(61) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&newest, bad).unwrap();
        let store = open(&disk);
        assert_eq!(store.started.snapshot, Some(NOW), "bit {bit}");
        assert_eq!(missing(&store.blobs, &all.each_ref().map(|(digest, _)| *digest)), []);
    }
    // The next snapshot goes over the bad one.
    let store = open(&disk);
    store.blobs.snapshot(NOW.plus(7)).unwrap();
    assert_eq!(open(&disk).started.snapshot, Some(NOW.plus(7)));
    std::fs::remove_file(&newest).unwrap();
    assert_eq!(open(&disk).started.snapshot, Some(NOW));
}

#[tokio::test]
async fn after_an_unclean_stop_no_level_is_below_the_waterline() {
    let (_, disk) = memory();
    let all = three_times(&disk).await;
    let waterline = NOW.plus(150);
    let store = try_open(&disk, &options(), waterline, &[]).unwrap();
    let digests = all.each_ref().map(|(digest, _)| *digest);
    assert_eq!(missing(&store.blobs, &digests), []);
    assert!(!has_level(&store.blobs, &digests[1], waterline.plus(1)));
}

#[tokio::test]
async fn after_a_clean_stop_levels_are_exact_and_only_the_first_start_is_clean() {
    let (_, disk) = memory();
    let store = open(&disk);
    let (old, used) = (blob(1, 300), blob(2, 300));
    for one in [&old, &used] {
        put(&store.blobs, one).await.unwrap();
    }
    store.blobs.raise(&[used.0], NOW.plus(500));
    store.blobs.close(NOW.plus(5)).unwrap();
    assert!(matches!(put(&store.blobs, &blob(3, 10)).await, Err(Error::Busy(_))));
    assert_eq!(read(&store.blobs, &old.0).await.unwrap(), old.1, "reads go on");
    let waterline = NOW.plus(200);
    let store = try_open(&disk, &options(), waterline, &[]).unwrap();
    assert!(store.started.clean);
    assert_eq!(store.started.snapshot, Some(NOW.plus(5)));
    assert_eq!(missing(&store.blobs, &[old.0, used.0]), [old.0]);
    assert!(!try_open(&disk, &options(), waterline, &[]).unwrap().started.clean);
}

#[tokio::test]
async fn pack_numbers_are_not_used_again_after_the_pack_is_gone() {
    let (_, disk) = memory();
    let store = open(&disk);
    let one = blob(1, LARGE);
    put(&store.blobs, &one).await.unwrap();
    store.blobs.close(NOW).unwrap();
    let used: Vec<String> = packs(&*disk);
    for name in &used {
        remove(&*disk, name);
    }
    let store = open(&disk);
    put(&store.blobs, &blob(2, LARGE)).await.unwrap();
    put(&store.blobs, &blob(2, 20)).await.unwrap();
    let after = packs(&*disk);
    assert!(after.len() == 2 && after.iter().all(|name| !used.contains(name)), "{used:?} {after:?}");
    // The index knows the blob from the snapshot; its pack is found gone, and the blob is missing from then on.
    assert!(matches!(read(&store.blobs, &one.0).await, Err(Error::Missing)));
    assert_eq!(missing(&store.blobs, &[one.0]), [one.0]);
}

/// Paths of all packs.
pub(super) fn packs(disk: &dyn Disk) -> Vec<String> {
    let folders = (0..=255).map(format::pack_folder);
    let names = folders.flat_map(|folder| {
        let entries = disk.list(&folder).unwrap().into_iter();
        entries.map(move |entry| folder.join(entry.name).to_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    names.filter(|name| name.ends_with(".pack") || name.ends_with(".open")).collect()
}

#[tokio::test]
async fn unreadable_pack_is_set_aside_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).unwrap());
    let store = open(&disk);
    let (bad, good) = (blob(1, LARGE), blob(2, 500));
    for one in [&bad, &good] {
        put(&store.blobs, one).await.unwrap();
    }
    store.blobs.close(NOW).unwrap();
    remove(&*disk, "snapshot.a");
    let largest =
        packs(&*disk).into_iter().max_by_key(|name| folder.path().join(name).metadata().unwrap().len());
    let largest = largest.unwrap();
    std::fs::write(folder.path().join(&largest), vec![0x55; 100_000]).unwrap();
    let store = open(&disk);
    assert_eq!(store.started.set_aside.len(), 1, "{:?}", store.started);
    assert!(folder.path().join(format!("{largest}.unreadable")).exists());
    assert_eq!(read(&store.blobs, &good.0).await.unwrap(), good.1);
    put(&store.blobs, &bad).await.unwrap();
    assert_eq!(read(&store.blobs, &bad.0).await.unwrap(), bad.1);
}
