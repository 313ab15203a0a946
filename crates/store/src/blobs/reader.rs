//! A blob on its way out: pieces of at most a frame, each verified before it is handed over.
//!
//! What the page cache has is read on the caller's thread, everything else on the blocking pool. A blob found bad in
//! the middle ends the stream with [`Error::Missing`], never as if it were complete.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::format::FRAME_SIZE;
use super::reading::Frames;
use super::shared::Shared;
use crate::{Digest, Error, Result};

/// A range of a blob, piece by piece.
#[derive(Debug)]
pub struct BlobReader {
    shared: Arc<Shared>,
    digest: Digest,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Whole(Bytes),
    Frames(Box<Frames>),
    Ended,
    /// A call failed, or was dropped before it was through.
    BrokenOff,
}

impl BlobReader {
    pub(super) async fn open(
        shared: Arc<Shared>,
        digest: Digest,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Self> {
        let end = len.map_or(digest.size(), |len| offset.saturating_add(len)).min(digest.size());
        let range = offset.min(end)..end;
        let rest = if digest.size() <= FRAME_SIZE {
            let content = match shared.try_read_small(&digest) {
                Poll::Ready(content) => content?,
                Poll::Pending => {
                    let reads = shared.clone();
                    shared.turns.read(move || reads.read_small(&digest)).await?
                }
            };
            let within = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(content.len());
            Rest::Whole(content.slice(within(range.start)..within(range.end)))
        } else {
            let reads = shared.clone();
            Rest::Frames(Box::new(shared.turns.read(move || reads.frames(&digest, range)).await?))
        };
        Ok(Self { shared, digest, rest })
    }

    /// The next piece, at most 1 MiB; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Missing`] if the record turns out to be bad, [`Error::Io`]. After an error, and after a call that was
    /// dropped before it was through, there is nothing more but [`Error::Busy`].
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match std::mem::replace(&mut self.rest, Rest::BrokenOff) {
            Rest::BrokenOff => Err(Error::Busy("the read was broken off before".to_owned())),
            Rest::Ended => {
                self.rest = Rest::Ended;
                Ok(None)
            }
            Rest::Whole(content) => {
                self.rest = Rest::Ended;
                Ok(Some(content).filter(|content| !content.is_empty()))
            }
            Rest::Frames(mut frames) => {
                if let Poll::Ready(piece) = frames.reader.try_next() {
                    self.rest = Rest::Frames(frames);
                    return Ok(piece);
                }
                let (shared, digest) = (self.shared.clone(), self.digest);
                let read = self.shared.turns.read(move || {
                    let piece = shared.next_frame(&digest, &mut frames)?;
                    Ok((frames, piece))
                });
                let (frames, piece) = read.await?;
                self.rest = Rest::Frames(frames);
                Ok(piece)
            }
        }
    }
}
