//! Blobs that are compressed as they come in: what is read is what was written, and takes less of the disk, or no more.

use super::*;
use crate::disk::RealDisk;

pub(super) fn compressing() -> BlobsOptions {
    BlobsOptions { compress: true, ..options() }
}

/// Half of it could be left out.
pub(super) fn compressible(number: u64, len: usize) -> (Digest, Bytes) {
    let content: Vec<u8> = Random::new(number).bytes(len).iter().map(|byte| byte & 15).collect();
    (Digest::of(&content), content.into())
}

fn open_with(disk: &Arc<dyn Disk>, options: &BlobsOptions) -> Store {
    try_open(disk, options, Level::ZERO, &[]).unwrap()
}

/// Bytes of packs, once they are sealed.
fn packs_bytes(folder: &std::path::Path) -> u64 {
    let folders = std::fs::read_dir(folder.join("packs")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// Small ones, one of just a frame, large ones of several frames and a rest; each by both ways in.
const SIZES: [usize; 6] = [1, 300, 100_000, 1 << 20, LARGE, (3 << 20) + 17];

async fn fill(store: &Store, make: fn(u64, usize) -> (Digest, Bytes)) -> Vec<(Digest, Bytes)> {
    let mut all = Vec::new();
    for (number, size) in (1..).zip(SIZES) {
        let (put_in, uploaded) = (make(number, size), make(100 + number, size));
        put(&store.blobs, &put_in).await.unwrap();
        upload(&store.blobs, &uploaded).await.unwrap();
        all.extend([put_in, uploaded]);
    }
    let digests: Vec<_> = all.iter().map(|(digest, _)| *digest).collect();
    make_durable(&store.blobs, &digests).await.unwrap();
    all
}

async fn all_is_there(store: &Store, all: &[(Digest, Bytes)]) {
    for (digest, content) in all {
        assert!(read(&store.blobs, digest).await.unwrap() == content, "{digest}");
        let (from, len) = (content.len() as u64 / 3, content.len() as u64 / 2);
        let part = read_range(&store.blobs, digest, from, Some(len)).await.unwrap();
        let from = usize::try_from(from).unwrap();
        assert!(part[..] == content[from..from + content.len() / 2], "{digest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressible_blobs_take_less_and_others_no_more_and_all_are_read_as_they_were() {
    let mut taken = Vec::new();
    for (make, options) in [
        (blob as fn(u64, usize) -> (Digest, Bytes), options()),
        (blob, compressing()),
        (compressible, compressing()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).unwrap());
        let store = open_with(&disk, &options);
        let all = fill(&store, make).await;
        all_is_there(&store, &all).await;
        let live = store.blobs.figures().live;
        store.blobs.close(Level::ZERO).unwrap();
        taken.push((packs_bytes(folder.path()), live));
        // Whoever does not compress reads it as well, after a start that reads no footer and one that reads all.
        for crashed in [false, true] {
            let store = open_with(&disk, &super::options());
            all_is_there(&store, &all).await;
            assert_eq!(store.blobs.figures().live, live, "after a start");
            if !crashed {
                drop(store);
            }
        }
    }
    let [raw, as_it_is, compressed] = taken[..] else { unreachable!() };
    assert_eq!(as_it_is, raw, "what does not get smaller lies as it came");
    assert!(compressed.0 < raw.0 * 6 / 10 && compressed.1 < raw.1 * 6 / 10, "{compressed:?} of {raw:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blob_that_stops_to_get_smaller_after_its_first_frame_is_read_as_it_was() {
    let (_, disk) = memory();
    let store = open_with(&disk, &compressing());
    let content = [compressible(1, 1 << 20).1, blob(2, LARGE).1].concat();
    let mixed = (Digest::of(&content), Bytes::from(content));
    upload(&store.blobs, &mixed).await.unwrap();
    all_is_there(&store, &[mixed]).await;
}
