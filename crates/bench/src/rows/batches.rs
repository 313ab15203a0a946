//! Blobs of 4 KiB, 200 a call: as the small files of a build go.

use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;

const BLOB_BYTES: usize = 4 << 10;
/// Below the megabyte that BuildStream 1's server takes in a batch.
const BATCH: usize = 200;
/// How many calls read different blobs.
const READ: usize = 100;

/// Each blob sent once.
pub(super) fn update(setup: &mut Setup<'_>) -> Plan {
    let count = setup.part();
    let operation = |_| {
        let blobs = batch(setup);
        let call = setup.batch_update(&blobs.iter().collect::<Vec<_>>());
        Operation::batch(call, BATCH, BATCH * BLOB_BYTES)
    };
    Plan::once((0..count).map(operation).collect())
}

/// Twenty thousand, read again and again.
pub(super) async fn read(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let mut reads = Vec::new();
    for _ in 0..READ.min(setup.count) {
        let blobs = batch(setup);
        setup.upload(&blobs).await?;
        let digests: Vec<_> = blobs.iter().map(|blob| &blob.digest).collect();
        reads.push(Operation::batch(setup.batch_read(&digests), BATCH, BATCH * BLOB_BYTES));
    }
    Ok(Plan::repeated(reads, setup.count))
}

fn batch(setup: &mut Setup<'_>) -> Vec<Blob> {
    (0..BATCH).map(|_| Blob::new(setup.random.bytes(BLOB_BYTES))).collect()
}
