//! The hot pieces of the blob store: parsing digests, finding and raising them in the index, appending to packs and
//! reading from them. On the disk of the system's temporary directory, with the data in the page cache.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run may end at once, as a test may"
)]

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use millpond_store::blobs::{Blobs, BlobsOptions};
use millpond_store::disk::{Disk, RealDisk};
use millpond_store::{Clock, Digest, Level};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BLOB_BYTES: usize = 4096;
const BATCH: u64 = 1000;

fn main() {
    divan::main();
}

/// A store that ends with its volume.
struct Store {
    blobs: Blobs,
    runtime: Runtime,
    _volume: TempDir,
}

impl Store {
    fn empty() -> Self {
        let volume = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(volume.path()).unwrap());
        let options = BlobsOptions { limit: Some(20 << 30), ..BlobsOptions::default() };
        let clock = Arc::new(Clock::start(Level::ZERO));
        let (blobs, _) =
            Blobs::open(disk, &options, clock, Level::ZERO, Vec::new(), Box::new(|_| {})).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Self { blobs, runtime, _volume: volume }
    }

    fn put(&self, batch: Vec<(Digest, Bytes)>) {
        for result in self.runtime.block_on(self.blobs.put_many(batch)) {
            result.unwrap();
        }
    }
}

/// Blobs that no other number gives.
fn batch(number: u64) -> Vec<(Digest, Bytes)> {
    let blob = |index: u64| {
        let mut content = vec![0x5a; BLOB_BYTES];
        content[..8].copy_from_slice(&(number * BATCH + index).to_le_bytes());
        (Digest::of(&content), Bytes::from(content))
    };
    (0..BATCH).map(blob).collect()
}

/// `count` digests, of which the store has every other one.
fn half_there(store: &Store, count: u64) -> Vec<Digest> {
    let batches: Vec<_> = (0..count / BATCH).map(batch).collect();
    let digests = batches.iter().flatten().map(|(digest, _)| *digest).collect();
    let there = batches.into_iter().flatten().step_by(2).collect();
    store.put(there);
    digests
}

#[divan::bench]
fn parse_digest(bencher: Bencher<'_, '_>) {
    let text = Digest::of(b"millpond").hash_hex();
    bencher.bench(|| Digest::parse(black_box(&text), black_box(8)));
}

#[divan::bench]
fn print_digest(bencher: Bencher<'_, '_>) {
    let digest = Digest::of(b"millpond");
    bencher.bench(|| black_box(&digest).hash_digits());
}

#[divan::bench]
fn missing(bencher: Bencher<'_, '_>) {
    let store = Store::empty();
    let digests = half_there(&store, 10_000);
    let mut missing = Vec::new();
    bencher.counter(ItemsCount::new(digests.len())).bench_local(|| {
        missing.clear();
        store.blobs.missing(
            black_box(&digests),
            Level::from_seconds(2),
            Level::from_seconds(1),
            &mut missing,
        );
        assert_eq!(missing.len(), digests.len() / 2);
    });
}

#[divan::bench]
fn raise(bencher: Bencher<'_, '_>) {
    let store = Store::empty();
    let digests = half_there(&store, 10_000);
    let mut level = 1;
    bencher.counter(ItemsCount::new(digests.len())).bench_local(|| {
        level += 1;
        store.blobs.raise(black_box(&digests), Level::from_seconds(level))
    });
}

/// Hashing, appending to a pack, entering in the index.
#[divan::bench(max_time = 2)]
fn put_batch(bencher: Bencher<'_, '_>) {
    let store = Store::empty();
    let mut number = 0;
    bencher
        .with_inputs(|| {
            number += 1;
            batch(number)
        })
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(BATCH as usize * BLOB_BYTES))
        .bench_local_values(|batch| store.put(batch));
}

#[divan::bench]
fn read_batch(bencher: Bencher<'_, '_>) {
    let store = Store::empty();
    let batch = batch(0);
    let digests: Vec<Digest> = batch.iter().map(|(digest, _)| *digest).collect();
    store.put(batch);
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(BATCH as usize * BLOB_BYTES))
        .bench_local(|| {
            let read = store.runtime.block_on(store.blobs.read_many(black_box(&digests)));
            assert!(
                read.iter().all(|content| content.as_ref().is_ok_and(|content| content.len() == BLOB_BYTES))
            );
        });
}
