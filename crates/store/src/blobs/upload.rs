//! A blob on its way in: hashed while it is received, finished or gone.
//!
//! A small one is gathered in memory and appended whole. A large one streams into a pack of its own: pieces are
//! gathered up to a frame, and hashed and written on the blocking pool while the next ones come in.
//!
//! **Invariant:** space is reserved by bytes received, before they are kept; nothing of an unfinished upload is in the
//! index, and whatever is dropped on the way takes its file along.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::appending::occupied;
use super::format::FRAME_SIZE;
use super::pack::SingleWriter;
use super::packs::check_hashed;
use super::shared::Shared;
use super::space::Reservation;
use crate::{Digest, Error, Hasher, Result};

/// Bytes come in pieces of about this size, the frames of HTTP/2.
const PIECE_SIZE: u64 = 64 << 10;

/// An upload. [`Upload::finish`] takes the blob in; dropped before, it vanishes.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Shared>,
    digest: Digest,
    /// It has a pack of its own, as limits were when it began.
    is_large: bool,
    received: u64,
    claim: Reservation,
    waiting: Vec<Bytes>,
    waiting_bytes: u64,
    stream: Stream,
}

/// Where the bytes of a large blob go; a small one stays at `None`.
#[derive(Debug)]
enum Stream {
    None,
    Busy(JoinHandle<Result<Box<Streamed>>>),
    Failed,
}

/// What was hashed and written so far.
#[derive(Debug)]
struct Streamed {
    shared: Arc<Shared>,
    writer: Option<SingleWriter>,
    hasher: Hasher,
}

impl Upload {
    pub(super) fn create(shared: Arc<Shared>, digest: Digest) -> Result<Self> {
        shared.check_size(&digest)?;
        shared.check_open()?;
        let claim = shared.space.claim();
        let is_large = digest.size() >= shared.space.limits().single_from;
        let (waiting, stream) = (Vec::new(), Stream::None);
        Ok(Self { shared, digest, is_large, received: 0, claim, waiting, waiting_bytes: 0, stream })
    }

    /// What is being uploaded.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes it keeps in memory between two writes, at most: a small blob and the copy that is made of its
    /// pieces; of a large one what is gathered for a frame, and what is being written, each with one piece above it, and what waits to
    /// be compressed.
    pub fn gathers(&self) -> u64 {
        let uncompressed = if self.shared.compresses() { FRAME_SIZE } else { 0 };
        if self.is_large { 2 * (FRAME_SIZE + PIECE_SIZE) + uncompressed } else { 2 * self.digest.size() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if these are more than the digest says, [`Error::NoSpace`], [`Error::Poisoned`],
    /// [`Error::Io`]. After an error the upload can only be dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        if self.received.saturating_add(len) > self.digest.size() {
            let (received, size) = (self.received.saturating_add(len), self.digest.size());
            return Err(Error::Mismatch(format!("{received} bytes came in, {size} were announced")));
        }
        self.claim.grow_patiently(len).await?;
        self.received += len;
        self.waiting_bytes += len;
        if len > 0 {
            self.waiting.push(bytes);
        }
        if self.is_large && self.waiting_bytes >= FRAME_SIZE { self.flush().await } else { Ok(()) }
    }

    /// Takes the blob in. It is not durable yet: see [`super::Blobs::sync`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the bytes are not those that the digest names, and as [`Upload::write`].
    pub async fn finish(mut self) -> Result<()> {
        let (received, size) = (self.received, self.digest.size());
        if received != size {
            return Err(Error::Mismatch(format!("{received} bytes came in, {size} were announced")));
        }
        self.claim.grow_patiently(occupied(size) - size).await?;
        if self.is_large {
            self.flush().await?;
            let mut streamed = self.streamed().await?;
            let shared = self.shared.clone();
            return shared.turns.write(move || streamed.finish(&self.digest, self.claim)).await;
        }
        let content = match <[Bytes; 1]>::try_from(std::mem::take(&mut self.waiting)) {
            Ok([only]) => only,
            Err(pieces) => {
                let mut content = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
                pieces.iter().for_each(|piece| content.extend_from_slice(piece));
                content.freeze()
            }
        };
        let Self { shared, digest, claim, .. } = self;
        let writes = shared.clone();
        shared.turns.write(move || writes.put_small(digest, content, claim)).await
    }

    /// Hands what is waiting to the blocking pool, when that is through with what it was given before.
    async fn flush(&mut self) -> Result<()> {
        let streamed = self.streamed().await?;
        self.waiting_bytes = 0;
        let pieces = std::mem::take(&mut self.waiting);
        self.stream = Stream::Busy(self.shared.turns.begin_write(move || streamed.take_in(&pieces)).await);
        Ok(())
    }

    async fn streamed(&mut self) -> Result<Box<Streamed>> {
        match std::mem::replace(&mut self.stream, Stream::Failed) {
            Stream::None => {
                let hasher = Hasher::new(self.digest.function());
                Ok(Box::new(Streamed { shared: self.shared.clone(), writer: None, hasher }))
            }
            Stream::Busy(running) => match running.await {
                Ok(result) => result,
                Err(_) => Err(Error::Busy("the upload was broken off".to_owned())),
            },
            Stream::Failed => Err(Error::Busy("the upload failed before".to_owned())),
        }
    }
}

impl Streamed {
    fn take_in(mut self: Box<Self>, pieces: &[Bytes]) -> Result<Box<Self>> {
        pieces.iter().for_each(|piece| self.hasher.update(piece));
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => empty.insert(self.shared.begin_single()?),
        };
        writer.write(pieces).map_err(|error| self.shared.single_failed(error))?;
        Ok(self)
    }

    fn finish(&mut self, digest: &Digest, claim: Reservation) -> Result<()> {
        check_hashed(digest, self.hasher.clone())?;
        match self.writer.take() {
            Some(writer) => self.shared.finish_single(writer, digest, claim),
            None => Err(Error::Mismatch("nothing came in".to_owned())),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => {
                    let shared = self.shared.clone();
                    let abandon = || {
                        writer.abandon();
                        Ok(())
                    };
                    drop(runtime.spawn(async move { shared.turns.write(abandon).await }));
                }
                Err(_) => writer.abandon(),
            }
        }
    }
}

impl Shared {
    /// Takes in a small blob, whole. Blocks.
    fn put_small(self: &Arc<Self>, digest: Digest, content: Bytes, claim: Reservation) -> Result<()> {
        let mut hasher = Hasher::new(digest.function());
        hasher.update(&content);
        check_hashed(&digest, hasher)?;
        self.check_open()?;
        if self.is_there(&digest) {
            return Ok(());
        }
        self.append(&[(digest, content)], claim).pop().unwrap_or(Err(Error::Missing))
    }
}
