//! The whole of the blob store over the memory disk and a real one. The limit is 60 MB unless a test says otherwise:
//! packs of 512 KiB, singles from 128 KiB.

mod backup;
mod broken_off;
mod compressed;
mod damage;
mod faults;
mod giving_back;
mod model;
mod power_cut;
mod restart;
mod scrub;
mod serving;
mod space;

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::disk::{Disk, MemoryDisk};
use crate::random::Random;
use crate::{Clock, Digest, Error, Level, Result};

const LIMIT: u64 = 60_000_000;
/// Larger than a single's least size, and of more than one frame.
const LARGE: usize = 2_500_000;
const NOW: Level = Level::from_seconds(1000);

/// An open store, with what it told of damage.
struct Store {
    blobs: Blobs,
    started: Started,
    clock: Arc<Clock>,
    damage: Arc<Mutex<Vec<Damage>>>,
}

impl Store {
    fn damage(&self) -> Vec<Damage> {
        self.damage.lock().unwrap().clone()
    }
}

fn try_open(
    disk: &Arc<dyn Disk>,
    options: &BlobsOptions,
    waterline: Level,
    damaged: &[Damage],
) -> Result<Store> {
    let damage = Arc::new(Mutex::new(Vec::new()));
    let clock = Arc::new(Clock::manual(NOW));
    let tell = damage.clone();
    let on_damage = Box::new(move |found| tell.lock().unwrap().push(found));
    let (blobs, started) =
        Blobs::open(disk.clone(), options, clock.clone(), waterline, damaged.to_vec(), on_damage)?;
    Ok(Store { blobs, started, clock, damage })
}

fn options() -> BlobsOptions {
    BlobsOptions { limit: Some(LIMIT), ..BlobsOptions::default() }
}

fn open(disk: &Arc<dyn Disk>) -> Store {
    try_open(disk, &options(), Level::ZERO, &[]).unwrap()
}

fn memory() -> (Arc<MemoryDisk>, Arc<dyn Disk>) {
    let disk = Arc::new(MemoryDisk::default());
    (disk.clone(), disk)
}

/// A blob that no other number and length gives.
fn blob(number: u64, len: usize) -> (Digest, Bytes) {
    let content = Random::new(number << 32 | len as u64).bytes(len);
    (Digest::of(&content), Bytes::from(content))
}

async fn put(blobs: &Blobs, blob: &(Digest, Bytes)) -> Result<()> {
    blobs.put_many(vec![blob.clone()]).await.pop().unwrap()
}

/// As a client of ByteStream does.
async fn upload(blobs: &Blobs, (digest, content): &(Digest, Bytes)) -> Result<()> {
    let mut upload = blobs.create(*digest).await?;
    for piece in content.chunks(300_000) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

/// All of a blob, piece by piece.
async fn read(blobs: &Blobs, digest: &Digest) -> Result<Bytes> {
    read_range(blobs, digest, 0, None).await
}

async fn read_range(blobs: &Blobs, digest: &Digest, offset: u64, len: Option<u64>) -> Result<Bytes> {
    let mut reader = blobs.open_blob(digest, offset, len).await?;
    let mut content = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty() && piece.len() <= 1 << 20);
        content.extend_from_slice(&piece);
    }
    Ok(content.into())
}

fn missing(blobs: &Blobs, digests: &[Digest]) -> Vec<Digest> {
    let mut missing = Vec::new();
    blobs.missing(digests, NOW, NOW, &mut missing);
    missing
}

/// Makes these blobs durable, as a publish does.
async fn make_durable(blobs: &Blobs, digests: &[Digest]) -> Result<()> {
    let raised = blobs.raise(digests, NOW);
    assert_eq!(raised.missing, []);
    blobs.sync(&raised.unsynced).await
}
