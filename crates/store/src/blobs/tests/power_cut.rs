//! The power is cut at every call that changes the disk, and what is left is opened: all that was made durable is
//! there and right, and of the rest nothing wrong is served.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::*;
use crate::disk::{Effect, Fault, FaultyDisk};

/// What a run did: all contents that were ever sent, and those that were made durable.
#[derive(Default)]
struct Truth {
    sent: BTreeMap<Digest, Bytes>,
    durable: BTreeMap<Digest, Bytes>,
}

/// The least limit: packs of 256 KiB, singles from 64 KiB, so that little work fills several packs.
fn small_options() -> BlobsOptions {
    BlobsOptions { limit: Some(8_000_000), ..BlobsOptions::default() }
}

/// Puts blobs and makes them durable, as far as the disk goes along.
async fn publish(blobs: &Blobs, truth: &mut Truth, batch: Vec<(Digest, Bytes)>) {
    truth.sent.extend(batch.iter().cloned());
    let (large, small): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(digest, _)| digest.size() > 100_000);
    let mut taken = Vec::new();
    for (one, result) in small.iter().zip(blobs.put_many(small.clone()).await) {
        taken.extend(result.ok().map(|()| one.clone()));
    }
    for one in large {
        if upload(blobs, &one).await.is_ok() {
            taken.push(one);
        }
    }
    let digests: Vec<Digest> = taken.iter().map(|(digest, _)| *digest).collect();
    let raised = blobs.raise(&digests, NOW);
    if blobs.sync(&raised.unsynced).await.is_ok() {
        let lost = &raised.missing;
        truth.durable.extend(taken.into_iter().filter(|(digest, _)| !lost.contains(digest)));
    }
}

async fn work(blobs: &Blobs, truth: &mut Truth) {
    publish(blobs, truth, vec![blob(1, 100), blob(2, 40_000), blob(3, 1_100_000)]).await;
    let _ = blobs.snapshot(NOW);
    blobs.background_sync();
    publish(blobs, truth, vec![blob(4, 60_000), blob(1, 100), blob(5, 50_000)]).await;
    publish(blobs, truth, (10..18).map(|number| blob(number, 60_000)).collect()).await;
    // Taken in, never made durable.
    let idle = vec![blob(20, 3000), blob(21, 200_000)];
    truth.sent.extend(idle.iter().cloned());
    blobs.put_many(idle).await;
    let _ = blobs.snapshot(NOW);
    publish(blobs, truth, vec![blob(3, 1_100_000), blob(22, 10)]).await;
    let _ = blobs.close(NOW);
}

async fn check(disk: Arc<dyn Disk>, truth: &Truth, what: &str) {
    let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
    for (digest, content) in &truth.durable {
        let read = read(&store.blobs, digest).await;
        assert!(
            read.as_ref().is_ok_and(|read| read == content),
            "{digest} {what}: {:?}",
            read.map(|read| read.len())
        );
    }
    for (digest, content) in &truth.sent {
        match read(&store.blobs, digest).await {
            Ok(read) => assert!(read == *content, "{digest} {what}"),
            Err(Error::Missing) => {}
            Err(error) => panic!("{digest} {what}: {error}"),
        }
    }
    assert_eq!(store.damage(), [], "{what}: nothing that was entered is bad");
    // It goes on taking in.
    let more = blob(99, 70_000);
    put(&store.blobs, &more).await.unwrap();
    make_durable(&store.blobs, &[more.0]).await.unwrap();
    assert_eq!(read(&store.blobs, &more.0).await.unwrap(), more.1);
}

/// A volume with some blobs already, so that making it is not tried again and again.
async fn prepared() -> (Arc<MemoryDisk>, Truth) {
    let (memory, disk) = memory();
    let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
    let mut truth = Truth::default();
    publish(&store.blobs, &mut truth, vec![blob(30, 20_000), blob(31, 300_000)]).await;
    store.blobs.close(NOW).unwrap();
    assert_eq!(truth.durable.len(), 2);
    (memory, truth)
}

fn cut_at(nth: u64) -> Fault {
    Fault { call: None, nth, effect: Effect::CutShort(Errno::IO), lasting: true }
}

#[tokio::test]
async fn what_was_durable_survives_a_power_cut_at_every_call() {
    let (base, before) = prepared().await;
    for nth in 1.. {
        let memory = Arc::new(base.crash(1));
        let faulty = Arc::new(FaultyDisk::new(memory.clone(), cut_at(nth)));
        let disk: Arc<dyn Disk> = faulty.clone();
        let mut truth = Truth { sent: before.sent.clone(), durable: before.durable.clone() };
        if let Ok(store) = try_open(&disk, &small_options(), Level::ZERO, &[]) {
            work(&store.blobs, &mut truth).await;
        }
        for seed in [0, 1, nth * 2, nth * 2 + 1] {
            check(Arc::new(memory.crash(seed)), &truth, &format!("after a cut at call {nth}, image {seed}"))
                .await;
        }
        if !faulty.has_struck() {
            assert!(nth > 60 && truth.durable.len() == truth.sent.len() - 2, "the run was whole: {nth}");
            return;
        }
    }
}

#[tokio::test]
async fn what_was_durable_survives_a_power_cut_at_every_call_of_the_start_after_one() {
    let (base, before) = prepared().await;
    let mut truth = before;
    {
        let disk: Arc<dyn Disk> = base.clone();
        let store = try_open(&disk, &small_options(), Level::ZERO, &[]).unwrap();
        publish(&store.blobs, &mut truth, vec![blob(1, 100), blob(2, 300_000)]).await;
        publish(&store.blobs, &mut truth, (10..18).map(|number| blob(number, 60_000)).collect()).await;
        truth.sent.extend([blob(40, 5000)]);
        put(&store.blobs, &blob(40, 5000)).await.unwrap();
    }
    for first in 0..4 {
        let image = base.crash(first);
        for nth in 1.. {
            let memory = Arc::new(image.crash(1));
            let faulty = Arc::new(FaultyDisk::new(memory.clone(), cut_at(nth)));
            let disk: Arc<dyn Disk> = faulty.clone();
            let _ = try_open(&disk, &small_options(), Level::ZERO, &[]);
            for seed in [0, 1, nth + 2] {
                let what = format!("image {first}, cut at call {nth} of the start, image {seed}");
                check(Arc::new(memory.crash(seed)), &truth, &what).await;
            }
            if !faulty.has_struck() {
                assert!(nth > 3);
                break;
            }
        }
    }
}
