//! Wall clocks that jump by decades, while a cache is open and while it is closed: nothing goes that space does not ask for,
//! and what was promised stays for the lease.

use std::time::Duration;

use millpond_store::{Clock, Level};

use super::*;
use crate::letting_go::Progress;
use crate::start::Begun;

const LEASE: u32 = 3600;
/// 1 October 2026.
const TODAY: Level = Level::from_seconds(213_000_000);
const FORTY_YEARS: u32 = 40 * 365 * 24 * 3600;

/// Opens as a process does that starts while the wall clock says `wall`.
async fn open(data: &Path, wall: Level) -> (Begun, Fixture) {
    let options = CacheOptions { lease: Duration::from_secs(LEASE.into()), ..options(data) };
    let disk = |data: &Path| -> millpond_store::Result<std::sync::Arc<dyn millpond_store::disk::Disk>> {
        Ok(std::sync::Arc::new(millpond_store::disk::RealDisk::open(data)?))
    };
    let begun = Begun::open(options, disk, move |last: Level| Clock::manual(last.max(wall))).await.unwrap();
    let fixture = Fixture::of(Cache { inner: std::sync::Arc::clone(&begun.inner) });
    (begun, fixture)
}

/// What the task does that lets go, of its own accord.
async fn let_go(begun: &Begun) {
    let mut progress = Progress::at_start();
    begun.inner.commit_and_drop(&mut progress).await;
    begun.inner.tidy_up(&mut progress, true).await;
}

async fn push(fixture: &Fixture, name: &str) {
    let blob = fixture.put(format!("content of {name}")).await.unwrap();
    fixture.push(AssetKind::Blob, &[name], blob).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_jumps_by_decades_while_the_cache_is_closed_lets_nothing_go_that_space_does_not_ask_for() {
    for clean in [true, false] {
        let data = tempfile::tempdir().unwrap();
        let walls = [TODAY, TODAY.plus(FORTY_YEARS), TODAY, TODAY.minus(6 * 365 * 24 * 3600), TODAY.plus(60)];
        let mut names: Vec<String> = Vec::new();
        let mut last = Level::ZERO;
        for (number, wall) in walls.into_iter().enumerate() {
            let (begun, fixture) = open(data.path(), wall).await;
            if !begun.opened.clean {
                tokio::task::block_in_place(|| begun.restore());
            }
            assert!(begun.inner.clock.now() >= last, "cache time goes back");
            let_go(&begun).await;
            assert_eq!(begun.inner.blobs.waterline(), Level::ZERO, "wall {wall}");
            // Were there no room, what was promised before the jump would stay for a lease all the same.
            let held = number > 0 && (!clean || wall == TODAY.plus(FORTY_YEARS));
            begun.inner.raise_waterline(Level::PINNED);
            assert!(
                !held || begun.inner.blobs.waterline() == Level::ZERO,
                "wall {wall}: a promise was not kept"
            );
            begun.inner.blobs.set_waterline(Level::ZERO);
            for name in &names {
                assert!(fixture.fetch_digest(AssetKind::Blob, name).await.is_some(), "wall {wall}: {name}");
            }
            let name = format!("urn:{number}");
            push(&fixture, &name).await;
            names.push(name);
            begun.inner.clock.advance(10);
            begun.inner.flush_uses().await;
            last = begun.inner.clock.now();
            if clean {
                fixture.cache.close().await;
            }
            drop((fixture, begun));
            // A killed process holds its lock no longer.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_of_before_a_crash_outlasts_a_stop_in_order_within_the_lease() {
    let data = tempfile::tempdir().unwrap();
    push(&open(data.path(), TODAY).await.1, "urn:promised").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The second stop is the first that comes a lease after the crash.
    for (passed, was_held) in [(60, true), (LEASE + 60, true), (60, false)] {
        let (begun, fixture) = open(data.path(), TODAY).await;
        assert_eq!(begun.opened.clean, !was_held, "stopped after {passed} s");
        if was_held {
            tokio::task::block_in_place(|| begun.restore());
        }
        begun.inner.clock.advance(passed);
        fixture.cache.close().await;
        drop((fixture, begun));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn running_clock_takes_no_notice_of_the_wall() {
    // A process that started 40 years ahead and one that started today both go on by what passes.
    for start in [TODAY, TODAY.plus(FORTY_YEARS)] {
        let clock = Clock::start(start);
        let first = clock.now();
        assert!(first >= start);
        assert!(clock.now().seconds() - first.seconds() < 60);
    }
}
