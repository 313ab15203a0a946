//! Blobs of 64 MiB, which go as streams.
//!
//! They are one mass of noise that ends differently each time: a client that made and hashed gigabytes would need as much
//! memory, and take minutes.

use bytes::Bytes;
use millpond_proto::reapi::Digest;
use sha2::{Digest as _, Sha256};

use crate::blob::digest;
use crate::failure::Failure;
use crate::plan::{Operation, Plan};
use crate::setup::{STREAM_STEP_BYTES, Setup, write_frame};
use crate::wire::{Call, Expect, method};

const BLOB_BYTES: usize = 64 << 20;
/// How many are read in turn: more than a processor's cache holds.
const READ: usize = 16;

/// What they have in common: what lies between the first step and the last.
struct Common {
    first: Bytes,
    middle: Vec<Bytes>,
    /// Has seen the first step and the middle.
    hash: Sha256,
}

/// Each written once.
pub(super) fn write(setup: &mut Setup<'_>) -> Plan {
    let written = blobs(setup, setup.part());
    Plan::once(written.into_iter().map(|(_, call)| Operation::one(call, BLOB_BYTES)).collect())
}

/// A gigabyte, read again and again.
pub(super) async fn read(setup: &mut Setup<'_>) -> Result<Plan, Failure> {
    let (digests, writes): (Vec<_>, Vec<_>) = blobs(setup, READ.min(setup.count)).into_iter().unzip();
    setup.perform(writes.into_iter().map(|call| Operation::one(call, 0)).collect()).await?;
    let reads = digests.iter().map(|digest| Operation::one(setup.read(digest), BLOB_BYTES));
    Ok(Plan::repeated(reads.collect(), setup.count))
}

/// So many blobs, each with the call that writes it.
fn blobs(setup: &mut Setup<'_>, count: usize) -> Vec<(Digest, Call)> {
    let common = Common::new(setup);
    (0..count).map(|_| common.blob(setup)).collect()
}

impl Common {
    fn new(setup: &mut Setup<'_>) -> Self {
        let noise = Bytes::from(setup.random.bytes(BLOB_BYTES - STREAM_STEP_BYTES));
        let offsets = (STREAM_STEP_BYTES..noise.len()).step_by(STREAM_STEP_BYTES);
        let middle = offsets.map(|offset| {
            let step = noise.slice(offset..offset + STREAM_STEP_BYTES);
            write_frame(String::new(), offset, step, false)
        });
        let hash = Sha256::new_with_prefix(&noise);
        Self { first: noise.slice(..STREAM_STEP_BYTES), middle: middle.collect(), hash }
    }

    fn blob(&self, setup: &mut Setup<'_>) -> (Digest, Call) {
        let last = Bytes::from(setup.random.bytes(STREAM_STEP_BYTES));
        let digest = digest(self.hash.clone().chain_update(&last), BLOB_BYTES);
        let mut frames = vec![write_frame(setup.upload_name(&digest), 0, self.first.clone(), false)];
        frames.extend_from_slice(&self.middle);
        frames.push(write_frame(String::new(), BLOB_BYTES - STREAM_STEP_BYTES, last, true));
        (digest, Call::stream(method::WRITE, frames, Expect::Committed(BLOB_BYTES)))
    }
}
