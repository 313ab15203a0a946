use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::walks::WALKS_MAX;

const WAITING_MAX: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn look_ups_behind_a_full_queue_are_misses_and_fresh_ones_are_not() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    for uri in ["urn:fresh", "urn:stale"] {
        let blob = fixture.put(uri).await.unwrap();
        fixture.push(AssetKind::Blob, &[uri], blob).await.unwrap();
    }
    fixture.cache.close().await;
    drop(fixture);
    // After a start each name is walked once more before it is answered as it stands.
    let options = CacheOptions { look_ups_waiting: WAITING_MAX, ..options(data.path()) };
    let fixture = Arc::new(Fixture::of(Cache::open(options).await.unwrap().0));
    let found = |uri: &'static str| {
        let fixture = Arc::clone(&fixture);
        async move { fixture.fetch_digest(AssetKind::Blob, uri).await.is_some() }
    };
    assert!(found("urn:fresh").await);

    let walks = &fixture.cache.inner.walks;
    let mut turns = Vec::new();
    for _ in 0..WALKS_MAX {
        turns.push(walks.turn().await.unwrap());
    }
    let waiting: Vec<_> = (0..WAITING_MAX).map(|_| tokio::spawn(found("urn:stale"))).collect();
    while walks.waiting() < WAITING_MAX {
        tokio::task::yield_now().await;
    }
    for shed in 1..=5 {
        // One that is not shed would wait for the turns that this test holds.
        let shed_at_once = tokio::time::timeout(PATIENCE, found("urn:stale")).await;
        assert_eq!(shed_at_once, Ok(false));
        assert_eq!(fixture.cache.figures().lookups_shed, shed);
        assert!(found("urn:fresh").await);
    }
    // One that needs no more than the index waits for nobody.
    let blob = fixture.put("pushed").await.unwrap();
    let pushed = tokio::time::timeout(PATIENCE, fixture.push(AssetKind::Blob, &["urn:at-once"], blob)).await;
    assert_eq!(pushed.unwrap().unwrap(), Published::Whole);
    // A publish that has to read what nobody has read since the start waits behind them all.
    let publish = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.push(AssetKind::Blob, &["urn:pushed"], Digest::of(b"urn:stale")).await }
    });
    while walks.waiting() <= WAITING_MAX {
        tokio::task::yield_now().await;
    }

    drop(turns);
    for look_up in waiting {
        assert!(look_up.await.unwrap());
    }
    assert_eq!(publish.await.unwrap().unwrap(), Published::Whole);
    assert!(found("urn:stale").await);
    assert_eq!(walks.waiting(), 0);
    assert_eq!(fixture.cache.figures().lookups_shed, 5);
}
