//! Uploading and reading blobs, and asking which are there.
//!
//! Uploading promises nothing yet: a blob is durable once a name that reaches it is published. That it was there
//! stays true for the lease.

use std::sync::Arc;

use bytes::Bytes;
use millpond_store::Digest;
use millpond_store::blobs as store;
use millpond_store::now_and_then;

use crate::cache::Inner;
use crate::{Cache, Error, Permit, Pull, Push, Result};

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
pub struct Upload {
    upload: store::Upload,
    inner: Arc<Inner>,
}

impl Upload {
    /// How many bytes it keeps in memory between two writes, at most.
    pub fn gathers(&self) -> u64 {
        self.upload.gathers()
    }

    /// Takes the next bytes. More than the digest's size: [`Error::Invalid`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.upload.write(bytes).await.map_err(|error| self.inner.refusal(error))
    }

    /// All bytes were written: checks size and hash, and makes the blob present.
    pub async fn finish(self) -> Result<()> {
        self.upload.finish().await.map_err(|error| self.inner.refusal(error))
    }
}

/// Reads a blob piece by piece.
#[derive(Debug)]
pub struct BlobReader {
    reader: store::BlobReader,
    digest: Digest,
}

impl BlobReader {
    /// The next piece, at most 1 MiB, verified; `None` at the end. A bad record ends it with `NotFound`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.reader.next().await.map_err(|error| as_miss(error, &self.digest))
    }
}

/// What a client can cure by building or uploading is a miss to a reader, and the fault goes to the log.
fn as_miss(error: millpond_store::Error, digest: &Digest) -> Error {
    use millpond_store::Error as Store;
    match error {
        Store::Busy(what) => Error::Busy(what),
        Store::Missing => not_found(digest),
        fault => {
            now_and_then!(error, %digest, %fault, "a blob cannot be read, and is a miss");
            not_found(digest)
        }
    }
}

fn not_found(digest: &Digest) -> Error {
    Error::NotFound(format!("blob {digest}"))
}

impl Cache {
    /// Which of `digests` are missing (each is named once); the others stay for the lease.
    pub fn missing_blobs(&self, _permit: &Permit<Pull>, digests: &[Digest]) -> Result<Vec<Digest>> {
        let mut missing = Vec::new();
        let now = self.inner.clock.now();
        self.inner.blobs.missing(digests, now, self.inner.gate.fresh_from(), &mut missing);
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    /// Whether one blob is there; it then stays for the lease.
    pub fn has_blob(&self, permit: &Permit<Pull>, digest: &Digest) -> Result<bool> {
        Ok(self.missing_blobs(permit, std::slice::from_ref(digest))?.is_empty())
    }

    /// Small blobs, each with its own outcome, in the order asked.
    pub async fn read_blobs(&self, _permit: &Permit<Pull>, digests: &[Digest]) -> Vec<Result<Bytes>> {
        let read = self.inner.blobs.read_many(digests).await;
        read.into_iter()
            .zip(digests)
            .map(|(outcome, digest)| outcome.map_err(|error| as_miss(error, digest)))
            .collect()
    }

    /// A blob from `offset` on, at most `limit` bytes. An offset beyond the end is `OutOfRange`.
    pub async fn read_blob(
        &self,
        permit: &Permit<Pull>,
        digest: &Digest,
        offset: u64,
        limit: Option<u64>,
    ) -> Result<BlobReader> {
        if !self.has_blob(permit, digest)? {
            return Err(not_found(digest));
        }
        if offset > digest.size() {
            return Err(Error::OutOfRange(format!(
                "offset {offset} lies beyond the end of the blob, which has {} bytes",
                digest.size()
            )));
        }
        let reader = self.inner.blobs.open_blob(digest, offset, limit).await;
        Ok(BlobReader { reader: reader.map_err(|error| as_miss(error, digest))?, digest: *digest })
    }

    /// Stores small blobs, each with its own outcome, in the order given.
    pub async fn put_blobs(&self, permit: &Permit<Push>, blobs: Vec<(Digest, Bytes)>) -> Vec<Result<()>> {
        if permit.instance().takes_blobs().is_err() {
            return blobs.iter().map(|_| permit.instance().takes_blobs()).collect();
        }
        let stored = self.inner.blobs.put_many(blobs).await;
        stored.into_iter().map(|outcome| outcome.map_err(|error| self.inner.refusal(error))).collect()
    }

    /// Begins an upload. Larger than the cache takes: `TooLarge`, at once.
    pub async fn create_blob(&self, permit: &Permit<Push>, digest: Digest) -> Result<Creation> {
        permit.instance().takes_blobs()?;
        if self.has_blob(&permit.to_pull(), &digest)? {
            return Ok(Creation::Present);
        }
        let upload = self.inner.blobs.create(digest).await.map_err(|error| self.inner.refusal(error))?;
        Ok(Creation::Upload(Upload { upload, inner: Arc::clone(&self.inner) }))
    }
}
