use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::restart::packs;
use super::*;
use crate::disk::{Call, Effect, Fault, FaultyDisk};

/// Flips a bit of the first occurrence of `bytes` in any pack.
pub(super) fn flip_bit_in(disk: &dyn Disk, bytes: &[u8]) {
    for name in packs(disk) {
        let file = disk.open(name.as_ref()).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut content, 0).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            file.write_at(&[content[at] ^ 0x10], at as u64).unwrap();
            file.sync().unwrap();
            return;
        }
    }
    panic!("no pack has these bytes");
}

#[tokio::test]
async fn bad_blob_is_missing_over_restarts_until_it_is_uploaded_again() {
    for len in [500, LARGE] {
        let (_, disk) = memory();
        let store = open(&disk);
        let (bad, good) = (blob(1, len), blob(2, len));
        for one in [&bad, &good] {
            put(&store.blobs, one).await.unwrap();
        }
        make_durable(&store.blobs, &[bad.0, good.0]).await.unwrap();
        store.blobs.snapshot(NOW).unwrap();
        flip_bit_in(&*disk, &bad.1[len / 2..len / 2 + 32]);
        let epoch = store.blobs.epoch();
        assert!(matches!(read(&store.blobs, &bad.0).await, Err(Error::Missing)));
        assert_eq!(store.blobs.epoch(), epoch + 1);
        let damage = store.damage();
        assert_eq!(damage.len(), 1);
        assert_eq!(missing(&store.blobs, &[bad.0, good.0]), [bad.0]);

        let store = try_open(&disk, &options(), Level::ZERO, &damage).unwrap();
        assert_eq!(missing(&store.blobs, &[bad.0, good.0]), [bad.0], "after a crash");
        store.blobs.close(NOW).unwrap();
        let store = try_open(&disk, &options(), Level::ZERO, &damage).unwrap();
        assert_eq!(missing(&store.blobs, &[bad.0, good.0]), [bad.0], "after a clean stop");

        upload(&store.blobs, &bad).await.unwrap();
        assert_eq!(read(&store.blobs, &bad.0).await.unwrap(), bad.1);
        make_durable(&store.blobs, &[bad.0]).await.unwrap();
        let store = try_open(&disk, &options(), Level::ZERO, &damage).unwrap();
        for one in [&bad, &good] {
            assert_eq!(read(&store.blobs, &one.0).await.unwrap(), one.1, "after it was uploaded again");
        }
        assert_eq!(store.damage(), []);
    }
}

#[tokio::test]
async fn damage_is_told_after_the_blob_is_missing_and_before_the_reader_hears_of_it() {
    let (_, disk) = memory();
    let bad = blob(1, 500);
    let (digest, told) = (bad.0, Arc::new(AtomicBool::new(false)));
    let blobs: Arc<Mutex<Option<Blobs>>> = Arc::default();
    let (seen, tell) = (blobs.clone(), told.clone());
    let on_damage = Box::new(move |_| {
        let blobs = seen.lock().unwrap().clone().unwrap();
        assert_eq!((missing(&blobs, &[digest]), blobs.epoch()), (vec![digest], 1));
        tell.store(true, Ordering::SeqCst);
    });
    let clock = Arc::new(Clock::manual(NOW));
    let opened = Blobs::open(disk.clone(), &options(), clock, Level::ZERO, Vec::new(), on_damage).unwrap().0;
    *blobs.lock().unwrap() = Some(opened.clone());
    put(&opened, &bad).await.unwrap();
    flip_bit_in(&*disk, &bad.1[..32]);
    assert!(matches!(opened.read_many(&[bad.0]).await[..], [Err(Error::Missing)]));
    assert!(told.load(Ordering::SeqCst));
}

#[tokio::test]
async fn stream_of_a_blob_that_is_bad_in_the_middle_ends_as_missing() {
    let (_, disk) = memory();
    let store = open(&disk);
    let bad = blob(1, LARGE);
    put(&store.blobs, &bad).await.unwrap();
    flip_bit_in(&*disk, &bad.1[(1 << 20) + 5000..][..32]);
    let mut reader = store.blobs.open_blob(&bad.0, 0, None).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), bad.1[..1 << 20]);
    assert!(matches!(reader.next().await, Err(Error::Missing)));
    assert_eq!(missing(&store.blobs, &[bad.0]), [bad.0]);
    assert_eq!(store.damage().len(), 1);
    let last = read_range(&store.blobs, &bad.0, 2 << 20, None).await;
    assert!(matches!(last, Err(Error::Missing)), "the good frames of it are not served either");
}

#[tokio::test]
async fn verify_finds_what_is_bad_and_marks_what_is_good() {
    let (_, disk) = memory();
    let store = open(&disk);
    let (bad, good) = (blob(1, LARGE), blob(2, LARGE));
    for one in [&bad, &good] {
        put(&store.blobs, one).await.unwrap();
    }
    store.blobs.close(NOW).unwrap();
    flip_bit_in(&*disk, &bad.1[LARGE - 32..]);
    let store = open(&disk);
    assert_eq!(store.blobs.raise(&[bad.0, good.0], NOW).unchecked, [bad.0, good.0]);
    assert!(matches!(store.blobs.verify(&bad.0), Err(Error::Missing)));
    store.blobs.verify(&good.0).unwrap();
    let raised = store.blobs.raise(&[bad.0, good.0], NOW);
    assert_eq!((raised.missing, raised.unchecked), (vec![bad.0], vec![]));
}

/// A store on a disk whose fault strikes at the first call of its kind after opening, with a small and a large blob.
async fn with_fault(fault: Fault) -> (Store, [(Digest, Bytes); 2]) {
    let (memory, disk) = memory();
    let store = open(&disk);
    let all = [blob(1, 500), blob(2, LARGE)];
    for one in &all {
        put(&store.blobs, one).await.unwrap();
    }
    store.blobs.close(NOW).unwrap();
    for nth in 1.. {
        let faulty = Arc::new(FaultyDisk::new(Arc::new(memory.crash(1)), Fault { nth, ..fault }));
        let disk: Arc<dyn Disk> = faulty.clone();
        let opened = try_open(&disk, &options(), Level::ZERO, &[]);
        if !faulty.has_struck() {
            return (opened.unwrap(), all);
        }
    }
    unreachable!("opening makes finitely many calls")
}

#[tokio::test]
async fn bit_flipped_on_the_way_is_read_again_and_costs_nothing() {
    let fault = Fault { call: Some(Call::Read), nth: 1, effect: Effect::FlipBit(77), lasting: false };
    let (store, all) = with_fault(fault).await;
    for (digest, content) in &all {
        assert_eq!(read(&store.blobs, digest).await.unwrap(), content);
    }
    assert_eq!(store.damage(), []);
}

#[tokio::test]
async fn sector_that_stays_unreadable_makes_the_blob_missing_and_does_not_poison() {
    let fault = Fault { call: Some(Call::Read), nth: 1, effect: Effect::Fail(Errno::IO), lasting: true };
    let (store, all) = with_fault(fault).await;
    assert!(matches!(read(&store.blobs, &all[0].0).await, Err(Error::Missing)));
    assert_eq!(store.damage().len(), 1);
    assert_eq!(store.blobs.figures().poisoned, None);
}

#[tokio::test]
async fn running_out_of_descriptors_is_no_damage() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        let fault = Fault { call: Some(Call::Open), nth: 1, effect: Effect::Fail(errno), lasting: false };
        let (store, all) = with_fault(fault).await;
        assert!(matches!(read(&store.blobs, &all[1].0).await, Err(Error::Io { .. })));
        assert_eq!(read(&store.blobs, &all[1].0).await.unwrap(), all[1].1, "the next read is as ever");
        assert_eq!(store.damage(), []);
    }
}
