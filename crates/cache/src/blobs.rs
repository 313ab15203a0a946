//! Uploading and reading blobs, and asking which are there.

use bytes::Bytes;
use millpond_store::Digest;

use crate::{Cache, Permit, Pull, Push, Result};

/// What became of the wish to upload a blob.
#[derive(Debug)]
pub enum Creation {
    /// It is there already, and raised: answer at once.
    Present,
    /// Send the bytes.
    Upload(Upload),
}

/// A blob being uploaded. Dropped before [`Upload::finish`], it vanishes.
#[derive(Debug)]
pub struct Upload {}

impl Upload {
    /// Takes the next bytes. More than the digest's size: [`crate::Error::Invalid`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let _ = bytes;
        todo!()
    }

    /// All bytes were written: checks size and hash, and makes the blob present.
    pub async fn finish(self) -> Result<()> {
        todo!()
    }
}

/// Reads a blob piece by piece.
#[derive(Debug)]
pub struct BlobReader {}

impl BlobReader {
    /// The next piece, at most 1 MiB, verified; `None` at the end. A bad record ends it with `NotFound`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        todo!()
    }
}

impl Cache {
    /// Which of `digests` are missing (each is named once); the others stay for the lease.
    pub fn missing_blobs(&self, permit: &Permit<Pull>, digests: &[Digest]) -> Result<Vec<Digest>> {
        let _ = (permit, digests);
        todo!()
    }

    /// Whether one blob is there; it then stays for the lease.
    pub fn has_blob(&self, permit: &Permit<Pull>, digest: &Digest) -> Result<bool> {
        let _ = (permit, digest);
        todo!()
    }

    /// Small blobs, each with its own outcome, in the order asked.
    pub async fn read_blobs(&self, permit: &Permit<Pull>, digests: &[Digest]) -> Vec<Result<Bytes>> {
        let _ = (permit, digests);
        todo!()
    }

    /// A blob from `offset` on, at most `limit` bytes. An offset beyond the end is `OutOfRange`.
    pub async fn read_blob(
        &self,
        permit: &Permit<Pull>,
        digest: &Digest,
        offset: u64,
        limit: Option<u64>,
    ) -> Result<BlobReader> {
        let _ = (permit, digest, offset, limit);
        todo!()
    }

    /// Stores small blobs, each with its own outcome, in the order given.
    pub async fn put_blobs(&self, permit: &Permit<Push>, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<()>> {
        let _ = (permit, blobs);
        todo!()
    }

    /// Begins an upload. Larger than the cache takes: `TooLarge`, at once.
    pub async fn create_blob(&self, permit: &Permit<Push>, digest: Digest) -> Result<Creation> {
        let _ = (permit, digest);
        todo!()
    }
}
