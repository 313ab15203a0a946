//! A disk that hangs, and fails nothing: it is said, what does not need it is served, and what waited comes to its end.

use std::sync::Arc;
use std::time::Duration;

use millpond_store::disk::{Call, Disk, FaultyDisk, MemoryDisk};

use super::*;

const LOOK_UP_TIME: Duration = Duration::from_secs(1);

async fn until(cache: &Cache, hangs: bool) {
    while cache.disk_hangs_for().is_some() != hangs {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_told_of_and_what_needs_it_not_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultyDisk::without_fault(Arc::new(MemoryDisk::default())));
    let below: Arc<dyn Disk> = disk.clone();
    let options = CacheOptions { look_up_time: LOOK_UP_TIME, ..options(data.path()) };
    let fixture = Arc::new(Fixture::of(Cache::open_on(options, |_| Ok(below)).await.unwrap().0));
    let one = fixture.put("one").await.unwrap();
    fixture.push(AssetKind::Blob, &["urn:one"], one).await.unwrap();
    assert_eq!(fixture.cache.disk_hangs_for(), None);

    // Of writes that hang, reads know nothing.
    let hanging = disk.hang(Call::Sync);
    let pushing = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move {
            let two = fixture.put("two").await.unwrap();
            fixture.push(AssetKind::Blob, &["urn:two"], two).await
        }
    });
    until(&fixture.cache, true).await;
    assert!(fixture.cache.figures().disk_silent_ms >= 1000);
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:one").await, Some(one));
    assert_eq!(fixture.read(one).await.unwrap(), "one");
    assert!(!pushing.is_finished());
    // Slow is what takes longer than a second.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(hanging);
    assert_eq!(pushing.await.unwrap().unwrap(), Published::Whole);
    until(&fixture.cache, false).await;

    // Of reads that hang, what lies in memory knows nothing.
    let hanging = disk.hang(Call::Read);
    let reading = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move { fixture.read(one).await }
    });
    until(&fixture.cache, true).await;
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:one").await, Some(one));
    assert_eq!(fixture.push(AssetKind::Blob, &["urn:three"], one).await.unwrap(), Published::Whole);
    assert!(!reading.is_finished());
    // Slow is what takes longer than a second.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(hanging);
    assert_eq!(reading.await.unwrap().unwrap(), "one");
    until(&fixture.cache, false).await;
    assert!(fixture.cache.figures().slow_disk_calls >= 2);
    fixture.cache.close().await;
}
