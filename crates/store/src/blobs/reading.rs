//! Reading a blob from wherever it lies, and what a bad record means.
//!
//! A pack that is gone when it is to be opened was renamed or removed since the index was asked: ask again, three
//! times. A record that is bad twice, past the page cache the second time, leaves the index and the blob is missing;
//! so is one whose pack stays gone. Running out of descriptors or memory says nothing about a record.
//!
//! **Invariant:** an error other than [`Error::Missing`] leaves the index as it was.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::format::{RecordHeader, record_len};
use super::index::{Entry, Location};
use super::pack::{FrameReader, PackFile};
use super::shared::Shared;
use crate::{Digest, Error, Result};

/// How often the index is asked when the pack that it names is gone.
const ATTEMPTS: usize = 3;

/// A large blob being read.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) reader: FrameReader,
    pub(super) location: Location,
}

/// What the record of this blob should say of its length: exact if it is stored as it is.
fn stored_hint(digest: &Digest, location: &Location) -> u64 {
    let record = location.stored.bytes();
    if record == record_len(digest.size()) {
        digest.size()
    } else {
        record.saturating_sub(RecordHeader::LEN as u64)
    }
}

impl Shared {
    /// The blob's entry, raised to now.
    fn entry(&self, digest: &Digest) -> Result<Entry> {
        self.index.raise(self.index.key(digest), self.clock.now(), self.waterline()).ok_or(Error::Missing)
    }

    /// A small blob, if that takes no waiting. `Pending` also if anything is wrong: the other way will say what.
    pub(super) fn try_read_small(&self, digest: &Digest) -> Poll<Result<Bytes>> {
        if *digest == Digest::EMPTY {
            return Poll::Ready(Ok(Bytes::new()));
        }
        let entry = match self.entry(digest) {
            Ok(entry) => entry,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let Some(pack) = self.packs.reader_at_hand(entry.location.place.pack) else { return Poll::Pending };
        pack.try_read_small(entry.location.place, digest, stored_hint(digest, &entry.location)).map(Ok)
    }

    /// A whole blob. Blocks.
    pub(super) fn read_small(&self, digest: &Digest) -> Result<Bytes> {
        if *digest == Digest::EMPTY {
            return Ok(Bytes::new());
        }
        self.with_record(digest, |pack, entry| {
            let content =
                pack.read_small(entry.location.place, digest, stored_hint(digest, &entry.location))?;
            self.was_checked(digest, entry);
            Ok(content)
        })
    }

    /// The same for whoever only looks: it is not raised, and may go meanwhile. Blocks.
    pub(super) fn peek_small(&self, digest: &Digest) -> Result<Bytes> {
        if *digest == Digest::EMPTY {
            return Ok(Bytes::new());
        }
        let entry = || self.index.get(self.index.key(digest), self.waterline()).ok_or(Error::Missing);
        self.with_entry(digest, entry, |pack, entry| {
            pack.read_small(entry.location.place, digest, stored_hint(digest, &entry.location))
        })
    }

    /// A reader of a range of the blob. Blocks.
    pub(super) fn frames(&self, digest: &Digest, range: std::ops::Range<u64>) -> Result<Frames> {
        self.with_record(digest, |pack, entry| {
            let reader = pack.frames(entry.location.place, digest, range.clone())?;
            Ok(Frames { reader, location: entry.location })
        })
    }

    /// The next frame. Blocks.
    pub(super) fn next_frame(&self, digest: &Digest, frames: &mut Frames) -> Result<Option<Bytes>> {
        frames.reader.next().map_err(|error| match error {
            Error::Damaged(_) => {
                self.found_bad(self.index.key(digest), &frames.location);
                Error::Missing
            }
            other => other,
        })
    }

    /// Reads all of the blob and marks it checked. Blocks.
    pub(super) fn verify(&self, digest: &Digest) -> Result<()> {
        if *digest == Digest::EMPTY {
            return Ok(());
        }
        self.with_record(digest, |pack, entry| {
            let mut reader = pack.frames(entry.location.place, digest, 0..digest.size())?;
            while reader.next()?.is_some() {}
            self.was_checked(digest, entry);
            Ok(())
        })
    }

    fn was_checked(&self, digest: &Digest, entry: &Entry) {
        if !entry.checked {
            self.index.set_checked(self.index.key(digest), entry.location.place);
        }
    }

    /// Does it with the blob's record, wherever that is by now, and raises the blob.
    fn with_record<T>(
        &self,
        digest: &Digest,
        act: impl FnMut(&Arc<PackFile>, &Entry) -> Result<T>,
    ) -> Result<T> {
        self.with_entry(digest, || self.entry(digest), act)
    }

    fn with_entry<T>(
        &self,
        digest: &Digest,
        look_up: impl Fn() -> Result<Entry>,
        mut act: impl FnMut(&Arc<PackFile>, &Entry) -> Result<T>,
    ) -> Result<T> {
        let mut gone = None;
        for _ in 0..ATTEMPTS {
            let entry = look_up()?;
            let done = self
                .packs
                .reader(&*self.disk, &self.keys, entry.location.place.pack)
                .and_then(|pack| act(&pack, &entry));
            match done {
                Err(Error::Missing) => gone = Some(entry.location),
                Err(Error::Damaged(_)) => self.found_bad(self.index.key(digest), &entry.location),
                other => return other,
            }
        }
        if let Some(location) = gone {
            self.found_bad(self.index.key(digest), &location);
        }
        Err(Error::Missing)
    }
}
