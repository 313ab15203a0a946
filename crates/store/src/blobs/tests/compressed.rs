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

/// Room for what compresses large blobs later: packs of 8 MiB, singles from 1 MiB.
fn cold_options() -> BlobsOptions {
    BlobsOptions { limit: Some(1 << 29), ..options() }
}

/// Compresses until nothing is left that is cold.
pub(super) fn compress_all(compressing: &mut Compressing, cold_after: u32) -> Result<Compressed> {
    let mut sum = Compressed::default();
    for _ in 0..1000 {
        match compressing.step(cold_after)? {
            CompressStep::Did(Compressed { packs, before, after }) => {
                sum = Compressed {
                    packs: sum.packs + packs,
                    before: sum.before + before,
                    after: sum.after + after,
                };
            }
            CompressStep::Ended => return Ok(sum),
            CompressStep::NoRoom => compressing.pass_over(),
        }
    }
    panic!("it goes on for ever");
}

/// Seals what was written.
fn seal(store: &Store) {
    store.blobs.shared().end_current();
    store.blobs.background_sync();
}

fn has_level(store: &Store, digest: &Digest, level: Level) -> bool {
    let shared = store.blobs.shared();
    shared.index.get(shared.index.key(digest), level).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cold_is_compressed_and_read_as_it_was_and_keeps_its_level_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).unwrap());
    let store = open_with(&disk, &cold_options());
    let (good, noise) = (fill(&store, compressible).await, fill(&store, |n, len| blob(n + 50, len)).await);
    // In a pack of its own kind each: whether it pays is said of a pack.
    seal(&store);
    store.clock.advance(100);
    let (live, used) = (store.blobs.figures().live, store.blobs.figures().used);

    let mut cold = Compressing::resume(store.blobs.clone());
    assert_eq!(compress_all(&mut cold, 101).unwrap(), Compressed::default());
    let did = compress_all(&mut cold, 100).unwrap();
    assert!(did.packs >= 5 && did.after < did.before * 8 / 10, "{did:?}");
    assert_eq!(live - store.blobs.figures().live, did.before - did.after);
    while store.blobs.give_back(false).unwrap().more {}
    assert!(store.blobs.figures().used < used, "the volume has them back");
    for (digest, _) in good.iter().chain(&noise) {
        assert!(has_level(&store, digest, NOW) && !has_level(&store, digest, NOW.plus(1)), "{digest}");
    }
    all_is_there(&store, &good).await;
    all_is_there(&store, &noise).await;
    assert_eq!(store.damage(), []);

    // Nothing is looked at twice, by whoever goes on either.
    let packs = store.blobs.figures().packs;
    let did = compress_all(&mut cold, 100).unwrap();
    assert_eq!((did, store.blobs.figures().packs), (Compressed::default(), packs));
    cold.keep();
    assert_eq!(cold.done, Compressing::resume(store.blobs.clone()).done);

    // By footers alone: the copies have the times of writing of what they were made of.
    store.blobs.close(NOW).unwrap();
    drop(store);
    for file in ["snapshot.a", "snapshot.b", "clean"] {
        let _ = disk.remove(file.as_ref());
    }
    let again = open_with(&disk, &cold_options());
    for (digest, _) in good.iter().chain(&noise) {
        assert!(has_level(&again, digest, NOW) && !has_level(&again, digest, NOW.plus(1)), "{digest}");
    }
    all_is_there(&again, &good).await;
    all_is_there(&again, &noise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_get_smaller_stays_where_it_is() {
    let (_, disk) = memory();
    let store = open_with(&disk, &cold_options());
    let all = fill(&store, blob).await;
    seal(&store);
    let before = (store.blobs.figures().packs, store.blobs.figures().used);
    let mut cold = Compressing::resume(store.blobs.clone());
    assert_eq!(compress_all(&mut cold, 0).unwrap(), Compressed::default());
    assert_eq!((store.blobs.figures().packs, store.blobs.figures().used), before);
    all_is_there(&store, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blob_larger_than_the_room_for_copies_stays_as_it_is_and_those_behind_it_do_not() {
    let (_, disk) = memory();
    // Copies have 1 MiB here.
    let store = open_with(&disk, &options());
    let large = compressible(1, LARGE);
    upload(&store.blobs, &large).await.unwrap();
    let small: Vec<_> = (2..6).map(|number| compressible(number, 100_000)).collect();
    for blob in &small {
        put(&store.blobs, blob).await.unwrap();
    }
    let digests: Vec<_> = small.iter().chain([&large]).map(|(digest, _)| *digest).collect();
    make_durable(&store.blobs, &digests).await.unwrap();
    seal(&store);
    let did = compress_all(&mut Compressing::resume(store.blobs.clone()), 0).unwrap();
    assert!(did.packs == 1 && did.before >= 400_000 && did.before < 500_000, "{did:?}");
    all_is_there(&store, &small).await;
    all_is_there(&store, &[large]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_record_is_not_given_a_good_checksum() {
    let (memory, disk) = memory();
    let store = open_with(&disk, &cold_options());
    let (large, small) = (compressible(1, LARGE), compressible(2, 200_000));
    upload(&store.blobs, &large).await.unwrap();
    put(&store.blobs, &small).await.unwrap();
    make_durable(&store.blobs, &[large.0, small.0]).await.unwrap();
    seal(&store);
    let shared = store.blobs.shared();
    for (digest, _) in [&large, &small] {
        let place = shared.index.get(shared.index.key(digest), Level::ZERO).unwrap().location.place;
        let file = memory.open(&place.pack.path(format::PackState::Sealed)).unwrap();
        // What is compressible has no such byte.
        file.write_at(&[255], place.byte_offset() + 1000).unwrap();
    }
    let did = compress_all(&mut Compressing::resume(store.blobs.clone()), 0).unwrap();
    assert_eq!(did, Compressed::default());
    assert_eq!(missing(&store.blobs, &[large.0, small.0]), [large.0, small.0]);
    assert_eq!(store.damage().len(), 2);
}

/// A volume with cold blobs in a mixed pack and in packs of their own, closed.
async fn prepared() -> (Arc<crate::disk::MemoryDisk>, Vec<(Digest, Bytes)>) {
    let (memory, disk) = memory();
    let store = open_with(&disk, &cold_options());
    let mut all: Vec<_> = (1..4).map(|number| compressible(number, 30_000)).collect();
    all.extend([compressible(4, 1 << 20), compressible(5, (1 << 20) + 9)]);
    for blob in &all {
        upload(&store.blobs, blob).await.unwrap();
    }
    let digests: Vec<_> = all.iter().map(|(digest, _)| *digest).collect();
    make_durable(&store.blobs, &digests).await.unwrap();
    store.blobs.close(NOW).unwrap();
    (memory, all)
}

fn open_and_compress(disk: &Arc<dyn Disk>) -> Option<(Store, Result<Compressed>)> {
    let store = try_open(disk, &cold_options(), Level::ZERO, &[]).ok()?;
    let mut cold = Compressing::resume(store.blobs.clone());
    let done = compress_all(&mut cold, 0);
    cold.keep();
    Some((store, done))
}

#[tokio::test]
async fn power_cut_at_each_call_of_compressing_loses_nothing() {
    use crate::disk::{Effect, Fault, FaultyDisk};
    let (base, all) = prepared().await;
    let mut struck = 0;
    for nth in 1.. {
        let memory = Arc::new(base.crash(1));
        let effect = Effect::CutShort(rustix::io::Errno::IO);
        let faulty =
            Arc::new(FaultyDisk::new(memory.clone(), Fault { call: None, nth, effect, lasting: true }));
        let disk: Arc<dyn Disk> = faulty.clone();
        let ran = open_and_compress(&disk);
        for seed in [0, 1, nth * 2] {
            let disk: Arc<dyn Disk> = Arc::new(memory.crash(seed));
            let (store, done) = open_and_compress(&disk).unwrap();
            done.unwrap();
            all_is_there(&store, &all).await;
            assert_eq!(store.damage(), [], "cut at call {nth}, image {seed}");
            while store.blobs.give_back(true).unwrap().more {}
            all_is_there(&open_with(&disk, &cold_options()), &all).await;
        }
        struck += u32::from(ran.is_some());
        if !faulty.has_struck() {
            assert!(struck > 20 && ran.is_some_and(|(_, done)| done.unwrap().packs == 3), "{struck}");
            return;
        }
    }
}

#[tokio::test]
async fn full_disk_at_each_call_of_compressing_leaves_everything_as_it_is() {
    use crate::disk::{Call, Effect, Fault, FaultyDisk};
    let (base, all) = prepared().await;
    for call in [Call::Create, Call::Write, Call::Sync, Call::SyncFolder, Call::Rename] {
        let mut checked = 0;
        for nth in 1.. {
            let memory = Arc::new(base.crash(1));
            let effect = Effect::CutShort(rustix::io::Errno::NOSPC);
            let fault = Fault { call: Some(call), nth, effect, lasting: false };
            let faulty = Arc::new(FaultyDisk::new(memory.clone(), fault));
            let disk: Arc<dyn Disk> = faulty.clone();
            let Ok(store) = try_open(&disk, &cold_options(), Level::ZERO, &[]) else { continue };
            if faulty.has_struck() {
                continue;
            }
            let mut cold = Compressing::resume(store.blobs.clone());
            let done = compress_all(&mut cold, 0);
            let has_struck = faulty.has_struck();
            assert_eq!(done.is_err(), has_struck, "{call:?} {nth}: {done:?}");
            assert_eq!(store.blobs.figures().poisoned, None, "{call:?} {nth}");
            // What was made and not used is not left on the volume, and the next step goes on.
            compress_all(&mut cold, 0).unwrap();
            all_is_there(&store, &all).await;
            while store.blobs.give_back(false).unwrap().more {}
            let on_disk = all_packs(&*disk);
            assert_eq!(on_disk, store.blobs.figures().packs, "{call:?} {nth}");
            if !has_struck {
                break;
            }
            checked += 1;
        }
        assert!(checked > 0, "{call:?}");
    }
}

fn all_packs(disk: &dyn Disk) -> usize {
    (0..=255).map(|byte| disk.list(&format::pack_folder(byte)).unwrap().len()).sum()
}
