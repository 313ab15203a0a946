//! Blobs of 3 KiB as streams, one a call: as clients that know no batches send them.

use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;

const BLOB_BYTES: usize = 3 << 10;
/// How many are read in turn.
const READ: usize = 5000;

/// Each written once.
pub(super) fn write(setup: &mut Setup<'_>) -> Plan {
    let blobs = blobs(setup, setup.part());
    Plan::once(blobs.iter().map(|blob| Operation::one(setup.write(blob), BLOB_BYTES)).collect())
}

/// Some thousand, read again and again.
pub(super) async fn read(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let blobs = blobs(setup, READ.min(setup.count));
    setup.upload(&blobs).await?;
    let reads = blobs.iter().map(|blob| Operation::one(setup.read(&blob.digest), BLOB_BYTES));
    Ok(Plan::repeated(reads.collect(), setup.count))
}

fn blobs(setup: &mut Setup<'_>, count: usize) -> Vec<Blob> {
    (0..count).map(|_| Blob::new(setup.random.bytes(BLOB_BYTES))).collect()
}
