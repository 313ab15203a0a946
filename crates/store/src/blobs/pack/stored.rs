//! Records as they are stored, to be copied from one pack to another.
//!
//! **Invariant:** what was read matches the checksums that it had: nothing bad gets good ones by being copied.

use bytes::Bytes;

use super::PackFile;
use super::read::Trouble;
use crate::blobs::encoding::compress_where_it_pays;
use crate::blobs::format::{
    Encoding, FrameTable, PackHeader, PackKind, Place, RecordHeader, VolumeKeys, align, checksum_of,
    frame_count,
};
use crate::{Digest, Level, Result};

/// A whole record: its header as it was, frames and frame table as they are stored.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    header: RecordHeader,
    body: Bytes,
}

impl StoredRecord {
    /// A blob of one frame, compressed; `None` if that does not pay.
    pub fn compressed(digest: &Digest, content: &[u8], now: Level) -> Option<Self> {
        if content.len() as u64 != digest.size() || frame_count(digest.size()) != 1 {
            return None;
        }
        let frame = compress_where_it_pays(content)?;
        let (stored, body_checksum) = (frame.len() as u64, checksum_of(&frame));
        let encoding = Encoding::Zstd;
        let header =
            RecordHeader { digest: *digest, encoding, sequence: 0, stored, time: now, body_checksum };
        Some(Self { header, body: frame.into() })
    }

    /// The same blob, compressed, if it was not and that pays; it keeps its time of writing.
    #[must_use]
    pub fn compressed_where_it_pays(self) -> Self {
        let RecordHeader { digest, encoding, time, .. } = &self.header;
        let compressed = match encoding {
            // A body of one raw frame is the content.
            Encoding::Raw => Self::compressed(digest, &self.body, *time),
            Encoding::Zstd => None,
        };
        compressed.unwrap_or(self)
    }

    /// The blob.
    pub fn digest(&self) -> &Digest {
        &self.header.digest
    }

    /// Its length in bytes, header and padding included.
    pub fn record_len(&self) -> u64 {
        self.header.record_len()
    }

    /// Appends it, padding included, as a record of another place, and returns its header there.
    pub(super) fn encode(
        &self,
        (keys, place, sequence): (&VolumeKeys, Place, u32),
        out: &mut Vec<u8>,
    ) -> RecordHeader {
        let header = RecordHeader { sequence, ..self.header };
        header.encode(keys, place.pack, place.byte_offset(), out);
        out.extend_from_slice(&self.body);
        out.resize(usize::try_from(align(out.len() as u64)).unwrap_or(out.len()), 0);
        header
    }
}

impl PackFile {
    /// The record at this place, of which the caller knows the length in bytes, header and padding included; every
    /// checksum of it is compared. It is read whole: the caller sees to it that it is short.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) if there is no good record of this length, [`Error::Io`](crate::Error::Io).
    pub fn stored_record(&self, place: Place, len: u64) -> Result<StoredRecord> {
        self.twice(|| {
            let bytes = Bytes::from(self.read_exact(place.byte_offset(), len)?);
            let header = RecordHeader::decode(&bytes, &self.keys, self.id(), place.byte_offset())
                .ok_or(Trouble::Bad("its header does not match its checksum"))?;
            if header.record_len() != len {
                return Err(Trouble::OtherLength);
            }
            let body = usize::try_from(header.stored)
                .ok()
                .and_then(|stored| Some(RecordHeader::LEN..RecordHeader::LEN.checked_add(stored)?))
                .filter(|body| body.end <= bytes.len())
                .map(|body| bytes.slice(body))
                .ok_or(Trouble::Bad("it ends within its frames"))?;
            if frames_match(&header, &body) {
                Ok(StoredRecord { header, body })
            } else {
                Err(Trouble::Bad("a frame does not match its checksum"))
            }
        })
        .map_err(|trouble| self.error(place, trouble))
    }

    /// What the pack's own header says that it holds; a pack whose header is bad counts as mixed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn kind(&self) -> Result<PackKind> {
        let start = Place { pack: self.id(), offset: 0 };
        let header = self.twice(|| {
            let bytes = self.read_exact(start.byte_offset(), PackHeader::LEN as u64)?;
            PackHeader::decode(&bytes).ok_or(Trouble::Bad("its header is none"))
        });
        match header {
            Ok(header) => Ok(header.kind),
            Err(trouble @ Trouble::Io(_)) => Err(self.error(start, trouble)),
            Err(_) => Ok(PackKind::Mixed),
        }
    }
}

/// Whether each frame, and the table of several, is what the header vouches for.
fn frames_match(header: &RecordHeader, body: &[u8]) -> bool {
    let table_len = usize::try_from(header.table_len()).unwrap_or(usize::MAX);
    let Some((frames, table)) = body.len().checked_sub(table_len).and_then(|at| body.split_at_checked(at))
    else {
        return false;
    };
    let Some(table) = FrameTable::decode(table, header) else { return false };
    let mut rest = frames;
    let all = table.0.iter().all(|entry| {
        let stored = usize::try_from(entry.stored).unwrap_or(usize::MAX);
        let Some((frame, later)) = rest.split_at_checked(stored) else { return false };
        rest = later;
        checksum_of(frame) == entry.checksum
    });
    all && rest.is_empty()
}
