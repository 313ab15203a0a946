//! What rules keep, where it comes at an awkward moment.

use std::sync::Arc;
use std::time::Duration;

use millpond_store::Level;

use super::*;
use crate::retention::KeptKind;
use crate::{Admin, NamesWanted, RemovalKind, RetentionRule, Rights};

const URI: &str = "urn:fdc:buildstream.build:2020:artifact:project/element/";

/// The newest artifact of each element is kept.
async fn open(data: &Path) -> (Fixture, Permit<Admin>) {
    let newest =
        RetentionRule { kind: Some(KeptKind::Artifact), keep_newest: Some(1), ..RetentionRule::default() };
    let options = CacheOptions { retention: vec![newest], ..options(data) };
    let fixture = Fixture::of(Cache::open(options).await.unwrap().0);
    let admin = Access::anonymous(Bounds { most: Rights::Admin, anonymous: Rights::Admin })
        .admin(fixture.cache.instance("").unwrap(), &Client::default())
        .unwrap();
    (fixture, admin)
}

async fn push_artifact(fixture: &Fixture, key: &str) {
    let file = fixture.put(format!("file of {key}")).await.unwrap();
    let root = fixture.put_message(&directory(&[("file", file)], &[])).await.unwrap();
    let artifact = fixture.put_message(&artifact(root, None)).await.unwrap();
    fixture.push(AssetKind::Blob, &[&format!("{URI}{key}")], artifact).await.unwrap();
}

async fn level(fixture: &Fixture, key: &str) -> Level {
    let inner = &fixture.cache.inner;
    let (values, _) = inner.catalog.portion_touched_after(0, Level::ZERO).unwrap();
    let value = values.iter().find(|value| value.name.text.ends_with(key)).unwrap();
    inner.gate.level_of(value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newest_artifact_that_comes_while_a_plan_is_made_stays_kept() {
    let data = tempfile::tempdir().unwrap();
    let (fixture, _) = open(data.path()).await;
    let inner = Arc::clone(&fixture.cache.inner);
    push_artifact(&fixture, "old").await;
    // A plan is of what was touched before its second.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let plan = Arc::new(tokio::task::block_in_place(|| inner.plan()).unwrap());
    push_artifact(&fixture, "new").await;
    inner.lower_values(&plan).await.unwrap();
    assert_eq!((level(&fixture, "old").await, level(&fixture, "new").await), (Level::PINNED, Level::PINNED));
    // The next one knows better.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let plan = Arc::new(tokio::task::block_in_place(|| inner.plan()).unwrap());
    inner.lower_values(&plan).await.unwrap();
    assert!(level(&fixture, "old").await < Level::PINNED);
    assert_eq!(level(&fixture, "new").await, Level::PINNED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_was_removed_more_than_once_the_last_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let (fixture, admin) = open(data.path()).await;
    let all = NamesWanted::default();
    let mut blobs = Vec::new();
    for content in ["first", "second", "third"] {
        let blob = fixture.put(content).await.unwrap();
        fixture.push(AssetKind::Blob, &["urn:moving"], blob).await.unwrap();
        let mut removal = fixture.cache.remove_names(&admin, &all, RemovalKind::SetAside(600));
        while removal.next_page().await.unwrap().is_some() {}
        blobs.push(blob);
    }
    let mut restoration = fixture.cache.restore_names(&admin, all);
    let restored = restoration.next_page().await.unwrap().unwrap();
    let came_back: Vec<_> = restored.iter().map(|(_, outcome)| outcome.is_ok()).collect();
    assert_eq!(came_back, [false, false, true], "{restored:?}");
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, "urn:moving").await, blobs.pop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_is_kept_by_rules_as_if_it_was_pushed_and_not_after_its_time() {
    let data = tempfile::tempdir().unwrap();
    let (fixture, admin) = open(data.path()).await;
    push_artifact(&fixture, "release").await;
    let all = NamesWanted::default();
    for (seconds, comes_back) in [(600, true), (0, false)] {
        let mut removal = fixture.cache.remove_names(&admin, &all, RemovalKind::SetAside(seconds));
        while removal.next_page().await.unwrap().is_some() {}
        assert!(fixture.fetch_digest(AssetKind::Blob, &format!("{URI}release")).await.is_none());
        let mut restoration = fixture.cache.restore_names(&admin, all.clone());
        let restored = restoration.next_page().await.unwrap().unwrap();
        assert_eq!(restored.first().unwrap().1.is_ok(), comes_back, "{restored:?}");
        assert!(!comes_back || level(&fixture, "release").await == Level::PINNED);
    }
}
