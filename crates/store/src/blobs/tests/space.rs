use super::*;

fn options_of(limit: u64) -> BlobsOptions {
    BlobsOptions { limit: Some(limit), ..BlobsOptions::default() }
}

/// All bytes below the data folder, in blocks, folders included.
pub(super) fn disk_usage(disk: &MemoryDisk) -> u64 {
    let space = disk.space().unwrap();
    space.total - space.available + 257 * 4096
}

#[tokio::test]
async fn full_store_refuses_blobs_and_goes_on_reading() {
    for limit in [8_000_000, 12_000_000] {
        let (memory, disk) = memory();
        let store = try_open(&disk, &options_of(limit), Level::ZERO, &[]).unwrap();
        let (mut taken, mut refused) = (Vec::new(), 0);
        for number in 0..600 {
            let one = blob(number, [300, 30_000, 100_000][number as usize % 3]);
            match put(&store.blobs, &one).await {
                Ok(()) => taken.push(one),
                Err(Error::NoSpace { used, limit: said, .. }) => {
                    assert!(said == limit && used <= limit);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
            store.blobs.background_sync();
            assert!(disk_usage(&memory) <= limit && store.blobs.figures().used <= limit);
        }
        assert!(refused > 0);
        let figures = store.blobs.figures();
        assert!(figures.live > limit / 2, "most of the limit holds blobs: {figures:?}");
        for (digest, content) in &taken {
            assert_eq!(read(&store.blobs, digest).await.unwrap(), *content);
        }
        store.blobs.close(NOW).unwrap();
        assert!(disk_usage(&memory) <= limit);
        let used = figures.used;
        let store = try_open(&disk, &options_of(limit), Level::ZERO, &[]).unwrap();
        assert!(store.blobs.figures().used.abs_diff(used) < 300_000, "{used} {:?}", store.blobs.figures());
        assert_eq!(store.blobs.figures().live, figures.live);
    }
}

#[tokio::test]
async fn blob_above_half_of_what_packs_may_hold_is_refused_before_it_is_sent() {
    let (_, disk) = memory();
    let store = try_open(&disk, &options_of(8_000_000), Level::ZERO, &[]).unwrap();
    let limit = store.blobs.blob_max();
    assert_eq!(limit, store.blobs.figures().blob_max);
    for size in [limit + 1, 5 << 30, i64::MAX as u64] {
        let digest = Digest::from_parts(crate::DigestFunction::Sha256, [1; 32], size).unwrap();
        let refused = store.blobs.create(digest).await;
        assert!(
            matches!(refused, Err(Error::TooLarge { size: said, limit: most }) if said == size && most == limit)
        );
    }
    let digest = Digest::from_parts(crate::DigestFunction::Sha256, [1; 32], limit).unwrap();
    assert!(store.blobs.create(digest).await.is_ok());
}

#[tokio::test]
async fn blob_above_the_size_that_was_set_is_refused_whatever_way_it_comes() {
    let (_, disk) = memory();
    let options = BlobsOptions { blob_max: Some(1000), ..options_of(8_000_000) };
    let store = try_open(&disk, &options, Level::ZERO, &[]).unwrap();
    assert_eq!(store.blobs.blob_max(), 1000);
    put(&store.blobs, &blob(1, 1000)).await.unwrap();
    let large = blob(2, 1001);
    for refused in [put(&store.blobs, &large).await, upload(&store.blobs, &large).await] {
        assert!(matches!(refused, Err(Error::TooLarge { size: 1001, limit: 1000 })), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_announced_reserves_nothing_and_what_is_received_does() {
    let (_, disk) = memory();
    let store = try_open(&disk, &options_of(8_000_000), Level::ZERO, &[]).unwrap();
    let before = store.blobs.figures();
    let size = before.blob_max;
    let mut uploads = Vec::new();
    for number in 0..20 {
        let digest = Digest::from_parts(crate::DigestFunction::Sha256, [number; 32], size).unwrap();
        uploads.push(store.blobs.create(digest).await.unwrap());
    }
    assert_eq!(store.blobs.figures().used, before.used);
    let mut refused = 0;
    for _ in 0..8 {
        for upload in &mut uploads {
            refused +=
                u32::from(matches!(upload.write(vec![7; 50_000].into()).await, Err(Error::NoSpace { .. })));
        }
    }
    assert!(refused > 0, "unfinished uploads may hold half of the space for packs");
    assert!(store.blobs.figures().used <= before.used + before.packs_max / 2);
    drop(uploads);
    put(&store.blobs, &blob(1, 1_000_000)).await.unwrap();
}

#[tokio::test]
async fn catalog_takes_from_what_packs_may_hold() {
    let (_, disk) = memory();
    let store = try_open(&disk, &options_of(8_000_000), Level::ZERO, &[]).unwrap();
    let before = store.blobs.figures();
    store.blobs.set_other_bytes(2_000_000);
    let after = store.blobs.figures();
    assert_eq!((after.packs_max, after.used), (before.packs_max - 2_000_000, before.used + 2_000_000));
    store.blobs.set_other_bytes(8_000_000);
    assert!(matches!(put(&store.blobs, &blob(1, 100)).await, Err(Error::NoSpace { .. })));
}

#[tokio::test]
async fn volume_filled_by_somebody_else_refuses_and_heals() {
    let (memory, disk) = memory();
    memory.set_capacity(100_000_000);
    let store = open(&disk);
    put(&store.blobs, &blob(1, 1000)).await.unwrap();
    memory.set_capacity(1_000_000);
    store.blobs.figures();
    assert!(matches!(put(&store.blobs, &blob(2, 1000)).await, Err(Error::NoSpace { .. })));
    memory.set_capacity(100_000_000);
    store.blobs.figures();
    put(&store.blobs, &blob(2, 1000)).await.unwrap();
}

#[tokio::test]
async fn default_limit_takes_blobs_on_a_volume_of_64_mb() {
    let memory = Arc::new(MemoryDisk::with_capacity(64_000_000));
    let disk: Arc<dyn Disk> = memory.clone();
    let store = try_open(&disk, &BlobsOptions::default(), Level::ZERO, &[]).unwrap();
    assert_eq!(store.blobs.figures().limit, 57_600_000);
    for number in 0..20 {
        put(&store.blobs, &blob(number, LARGE)).await.unwrap();
    }
    assert!(matches!(put(&store.blobs, &blob(100, 9_000_000)).await, Err(Error::NoSpace { .. })));
    assert!(disk_usage(&memory) < 57_600_000);
}

#[test]
fn limit_too_small_for_a_store_is_refused_at_start() {
    let (_, disk) = memory();
    assert!(matches!(try_open(&disk, &options_of(7_000_000), Level::ZERO, &[]), Err(Error::Io { .. })));
}
