//! Letting go beside everything else, in orders that follow from a seed, with every kind of end: what is served is whole,
//! what was acknowledged is served or below the committed waterline, and what was said to be there stays for a lease.
//!
//! `MILLPOND_MODEL_SEEDS` has more orders tried than usual, from `MILLPOND_MODEL_FIRST` on.

mod operations;
mod pausing;
mod pins;
mod run;
mod together;
mod truth;
mod world;

use std::sync::Arc;

use millpond_store::Level;
use millpond_store::disk::MemoryDisk;

use super::*;
use crate::letting_go::Progress;
pub(super) use run::Random;
use run::{LEASE, Run, open};

/// What follows from the environment, or else the usual.
pub(super) fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn served_names_are_whole_and_promises_are_kept_in_any_order_of_steps() {
    let first = number("MILLPOND_MODEL_FIRST", 0);
    for seed in first..first + number("MILLPOND_MODEL_SEEDS", 40) {
        let mut run = Run::begin(seed).await;
        for _ in 0..150 {
            run.step().await;
        }
        run.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn served_names_are_whole_while_clients_and_letting_go_run_beside_each_other() {
    let first = number("MILLPOND_MODEL_FIRST", 0);
    for seed in first..first + number("MILLPOND_MODEL_SEEDS", 5) {
        together::run(seed).await;
    }
}

#[tokio::test]
async fn rows_of_names_go_also_when_all_their_blobs_stay() {
    let data = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryDisk::default());
    let (begun, _) = open(data.path(), &memory, Level::from_seconds(100_000), 0).await;
    let fixture = Fixture::of(Cache { inner: Arc::clone(&begun.inner) });
    let (inner, mut progress) = (&begun.inner, Progress::at_start());
    let blob = fixture.put("in use by others").await.unwrap();
    for round in 0..2 {
        fixture.push(AssetKind::Blob, &[&format!("urn:{round}")], blob).await.unwrap();
        inner.tidy_up(&mut progress, false).await;
        assert_eq!(fixture.cache.figures().names, 1);
        inner.clock.advance(2 * LEASE);
        assert!(fixture.cache.has_blob(&fixture.pull, &blob).unwrap());
        inner.raise_waterline(Level::PINNED);
        assert_eq!(inner.commit_and_drop(&mut progress).await.blobs, 0);
        inner.tidy_up(&mut progress, false).await;
        assert_eq!(fixture.cache.figures().names, 0, "round {round}");
    }
    fixture.cache.close().await;
}
