//! The disk is full at each call in turn, while clients push and letting go makes room: what was acknowledged is whole or
//! was let go, nothing is poisoned, and all goes on once there is room.

use std::sync::Arc;

use millpond_store::disk::{Call, Disk, Effect, Fault, FaultyDisk, MemoryDisk};
use millpond_store::{Clock, Level};
use rustix::io::Errno;

use super::letting_go::Random;
use super::*;
use crate::letting_go::Progress;
use crate::start::Begun;

const START: Level = Level::from_seconds(100_000);

/// An artifact that was acknowledged, and when.
struct Acknowledged {
    uri: String,
    closure: Vec<Digest>,
    time: Level,
}

async fn open(data: &Path, disk: Arc<dyn Disk>, now: Level) -> Option<(Begun, Fixture)> {
    let options = CacheOptions {
        max_size: Some(MaxSize::Bytes(8_000_000)),
        keep_free: Some(0),
        lease: std::time::Duration::ZERO,
        room_wait: std::time::Duration::ZERO,
        ..options(data)
    };
    let clock = move |last: Level| Clock::manual(last.max(now));
    let begun = Begun::open(options, |_| Ok(disk), clock).await.ok()?;
    let fixture = Fixture::of(Cache { inner: Arc::clone(&begun.inner) });
    Some((begun, fixture))
}

async fn push(fixture: &Fixture, number: u64) -> Result<Acknowledged> {
    let mut random = Random(number);
    let mut closure = Vec::new();
    for size in [700_000, 60_000, 40_000, 3_000] {
        let bytes: Vec<u8> = (0..size / 8).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
        closure.push(fixture.put(bytes).await?);
    }
    let files: Vec<_> = ["a", "b", "c", "d"].into_iter().zip(closure.iter().copied()).collect();
    let root = fixture.put_message(&directory(&files, &[])).await?;
    let blob = fixture.put_message(&artifact(root, None)).await?;
    closure.extend([root, blob]);
    let (uri, time) = (format!("{ARTIFACT}{number}"), fixture.cache.inner.clock.now());
    match fixture.push(AssetKind::Blob, &[&uri], blob).await? {
        Published::Whole => Ok(Acknowledged { uri, closure, time }),
        // As a name that waits for its blobs: no promise.
        other => Err(Error::Busy(format!("{other:?}"))),
    }
}

/// What the tasks of a server do, once.
async fn upkeep(begun: &Begun, progress: &mut Progress) {
    let inner = &begun.inner;
    let blobs = inner.blobs.clone();
    tokio::task::spawn_blocking(move || blobs.background_sync()).await.unwrap();
    let excess = inner.blobs.excess();
    if excess > 0 {
        let target = inner.blobs.level_above(excess).unwrap_or(Level::PINNED);
        inner.raise_waterline(target);
    }
    inner.commit_and_drop(progress).await;
    inner.tidy_up(progress, true).await;
}

/// Whole, or let go. How many are whole.
async fn verify(fixture: &Fixture, all: &[Acknowledged], what: &str) -> usize {
    let mut whole = 0;
    for Acknowledged { uri, closure, time } in all {
        if fixture.fetch_digest(AssetKind::Blob, uri).await.is_none() {
            let waterline = fixture.cache.inner.blobs.waterline();
            assert!(*time < waterline, "{what}: {uri} of {time} is gone, and the waterline is {waterline}");
            continue;
        }
        for digest in closure {
            let content =
                fixture.read(*digest).await.unwrap_or_else(|error| panic!("{what}: {uri}: {error}"));
            assert_eq!(Digest::of(&content), *digest, "{what}");
        }
        whole += 1;
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_at_each_call_refuses_and_heals_while_letting_go() {
    for call in [Call::Write, Call::Create, Call::Sync, Call::Rename] {
        // All of them take long, and are for the night.
        let step = if std::env::var_os("MILLPOND_KILLS").is_some() { 1 } else { 7 };
        let mut struck = 0;
        for nth in (1..).step_by(step) {
            let fault =
                Fault { call: Some(call), nth, effect: Effect::CutShort(Errno::NOSPC), lasting: false };
            if !one_run(fault).await {
                break;
            }
            struck += 1;
        }
        assert!(struck > 2, "{call:?}: the fault came to pass only {struck} times");
    }
}

/// False if the fault did not come to pass.
async fn one_run(fault: Fault) -> bool {
    let what = format!("{fault:?}");
    let data = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryDisk::default());
    let faulty = Arc::new(FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault));
    let disk = Arc::clone(&faulty) as Arc<dyn Disk>;
    let Some((begun, fixture)) = open(data.path(), disk, START).await else { return true };
    let mut progress = Progress::at_start();
    let mut all = Vec::new();
    for number in 0..8 {
        begun.inner.clock.advance(10);
        match push(&fixture, number).await {
            Ok(acknowledged) => all.push(acknowledged),
            Err(Error::NoSpace { .. } | Error::Busy(_) | Error::Incomplete { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        upkeep(&begun, &mut progress).await;
    }
    verify(&fixture, &all, &what).await;
    assert_eq!(fixture.cache.figures().poisoned, None, "{what}");
    for number in 8..10 {
        begun.inner.clock.advance(10);
        upkeep(&begun, &mut progress).await;
        let before = faulty.has_struck();
        let mut pushed = push(&fixture, number).await;
        if pushed.is_err() && !before && faulty.has_struck() {
            pushed = push(&fixture, number).await;
        }
        all.push(pushed.unwrap_or_else(|error| panic!("{what}: {error}")));
    }
    assert!(verify(&fixture, &all, &what).await >= 2, "{what}");
    let (now, image) = (begun.inner.clock.now(), Arc::new(memory.crash(0)));
    fixture.cache.close().await;
    drop((fixture, begun));
    let (begun, fixture) = open(data.path(), image, now).await.unwrap();
    tokio::task::block_in_place(|| begun.restore());
    assert!(verify(&fixture, &all, &what).await >= 2, "{what}, after a power cut");
    fixture.cache.close().await;
    faulty.has_struck()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_that_others_fill_at_any_time_costs_what_is_oldest_and_no_more() {
    for filled in 4..8 {
        let what = format!("filled after {filled}");
        let data = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemoryDisk::default());
        let disk = Arc::clone(&memory) as Arc<dyn Disk>;
        let (begun, fixture) = open(data.path(), disk, START).await.unwrap();
        let (mut progress, mut all) = (Progress::at_start(), Vec::new());
        for number in 0..8 {
            begun.inner.clock.advance(10);
            if number == filled {
                let space = memory.space().unwrap();
                memory.set_capacity(space.total - space.available);
            }
            let pushed = push(&fixture, number).await;
            assert!(number < filled || pushed.is_err(), "{what}: there is room for {number}");
            all.extend(pushed);
            upkeep(&begun, &mut progress).await;
        }
        verify(&fixture, &all, &what).await;
        // What goes makes room, also there.
        begun.inner.clock.advance(10);
        begun.inner.raise_waterline(Level::PINNED);
        assert!(begun.inner.commit_and_drop(&mut progress).await.bytes > 0, "{what}");
        assert!(begun.inner.tidy_up(&mut progress, true).await.is_some_and(|freed| freed > 0), "{what}");
        begun.inner.clock.advance(10);
        all.push(push(&fixture, 100).await.unwrap_or_else(|error| panic!("{what}: {error}")));
        assert_eq!(verify(&fixture, &all, &what).await, 1, "{what}");
        fixture.cache.close().await;
    }
}
