//! Very many very small things, to fill a server with: what each costs beside its bytes.

use millpond_proto::asset::PushBlobRequest;

use crate::blob::Blob;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::Setup;
use crate::wire::{Call, Expect, method};

const BLOB_BYTES: usize = 64;
const BATCH: usize = 2000;

/// Each blob sent once.
pub(super) fn update(setup: &mut Setup<'_>) -> Plan {
    let count = setup.part();
    let operation = |_| {
        let blobs = blobs(setup, BATCH);
        let call = setup.batch_update(&blobs.iter().collect::<Vec<_>>());
        Operation::batch(call, BATCH, BATCH * BLOB_BYTES)
    };
    Plan::once((0..count).map(operation).collect())
}

/// Each name pushed once, for a blob of its own that was uploaded before.
pub(super) async fn push(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let blobs = blobs(setup, setup.part());
    setup.upload(&blobs).await?;
    let request = |blob: &Blob| PushBlobRequest {
        instance_name: setup.instance(),
        uris: vec![format!("urn:millpond:bench:{}", blob.digest.hash)],
        blob_digest: Some(blob.digest.clone()),
        ..Default::default()
    };
    let call = |blob| Operation::one(Call::new(method::ASSET_PUSH, &request(blob), Expect::Done), 0);
    Ok(Plan::once(blobs.iter().map(call).collect()))
}

fn blobs(setup: &mut Setup<'_>, count: usize) -> Vec<Blob> {
    (0..count).map(|_| Blob::new(setup.random.bytes(BLOB_BYTES))).collect()
}
