//! A record: the header that names a blob, and the table that vouches for its frames.
//!
//! The header is followed by the frames one after the other, by a table of them if there is more than one, and by
//! zeros up to the next multiple of 8. The header's checksum is keyed and covers where the record lies: the same bytes
//! anywhere else, in a blob's content say, are no record.

use twox_hash::XxHash3_64;

use super::fields::keyed_checksum;
use super::{
    ALIGNMENT, Encoding, FRAME_GROWTH_MAX, FRAME_SIZE, Fields, PackId, VolumeKeys, align, frame_count, put,
};
use crate::{Digest, DigestFunction, Level};

const MAGIC: &[u8; 4] = b"MPrc";
const VERSION: u8 = 1;
const HASH_LEN: usize = 32;

/// What stands before the frames of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The blob.
    pub digest: Digest,
    /// How its frames are stored.
    pub encoding: Encoding,
    /// How many records of this pack lie before it.
    pub sequence: u32,
    /// Bytes of frames and frame table, without header and padding.
    pub stored: u64,
    /// When it was written.
    pub time: Level,
    /// Checksum of the only frame, or of the frame table.
    pub body_checksum: u64,
}

impl RecordHeader {
    /// Its bytes in the file, with a SHA-256 hash: the hash stands last but for the checksum, and has as many bytes as
    /// its function gives it, up to 64.
    pub const LEN: usize = 4 + 4 + 4 + 4 + 8 + 8 + 4 + 4 + 8 + HASH_LEN + 8;

    /// In how many frames the blob is stored.
    pub fn frames(&self) -> u64 {
        frame_count(self.digest.size())
    }

    /// Bytes of the frame table, none for a single frame.
    pub fn table_len(&self) -> u64 {
        table_len(self.frames())
    }

    /// Bytes of the whole record, padding included.
    pub fn record_len(&self) -> u64 {
        record_len(self.stored)
    }

    /// Appends its bytes, for a record that starts at `offset` of a pack.
    pub fn encode(&self, keys: &VolumeKeys, pack: PackId, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let frames = u32::try_from(self.frames()).unwrap_or(u32::MAX);
        put(
            out,
            &[
                MAGIC,
                &[VERSION, self.digest.function() as u8, self.encoding as u8, HASH_LEN as u8],
                &pack.number().to_le_bytes(),
                &self.sequence.to_le_bytes(),
                &self.digest.size().to_le_bytes(),
                &self.stored.to_le_bytes(),
                &self.time.seconds().to_le_bytes(),
                &frames.to_le_bytes(),
                &self.body_checksum.to_le_bytes(),
                self.digest.hash(),
            ],
        );
        let written = out.get(start..).unwrap_or_default();
        let checksum = keyed_checksum(&keys.salt, pack.number(), offset, written);
        put(out, &[&checksum.to_le_bytes()]);
    }

    /// The header at the start of `bytes`, if this volume wrote it at this offset of this pack.
    pub fn decode(bytes: &[u8], keys: &VolumeKeys, pack: PackId, offset: u64) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let (body, checksum) = bytes.get(..Self::LEN)?.split_last_chunk::<8>()?;
        if keyed_checksum(&keys.salt, pack.number(), offset, body) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let mut fields = Fields(body);
        let [_, _, _, _] = fields.array::<4>()?;
        let [version, function, encoding, hash_len] = fields.array()?;
        if version != VERSION || usize::from(hash_len) != HASH_LEN || fields.u32()? != pack.number() {
            return None;
        }
        let sequence = fields.u32()?;
        let (size, stored) = (fields.u64()?, fields.u64()?);
        let (time, frames) = (Level::from_seconds(fields.u32()?), fields.u32()?);
        let body_checksum = fields.u64()?;
        let digest = Digest::from_parts(DigestFunction::from_number(function)?, fields.array()?, size)?;
        let encoding = Encoding::from_number(encoding)?;
        let header = Self { digest, encoding, sequence, stored, time, body_checksum };
        (u64::from(frames) == header.frames() && header.has_possible_len()).then_some(header)
    }

    /// Raw frames take what the blob has; compressed ones not much more.
    fn has_possible_len(&self) -> bool {
        let raw = self.digest.size().saturating_add(self.table_len());
        match self.encoding {
            Encoding::Raw => self.stored == raw,
            Encoding::Zstd => {
                self.stored >= self.table_len()
                    && self.stored <= raw.saturating_add(self.frames().saturating_mul(FRAME_GROWTH_MAX))
            }
        }
    }
}

const _: () = assert!(RecordHeader::LEN == 88 && RecordHeader::LEN.is_multiple_of(ALIGNMENT as usize));

/// Bytes of a record with so many stored bytes, header and padding included.
pub const fn record_len(stored: u64) -> u64 {
    align(stored.saturating_add(RecordHeader::LEN as u64))
}

/// The checksum of a frame's stored bytes, or of a frame table.
pub fn checksum_of(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// One frame: how many bytes are stored of it, and their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Stored bytes.
    pub stored: u32,
    /// Their checksum.
    pub checksum: u64,
}

const ENTRY_LEN: u64 = 4 + 8;

/// Bytes of a table of so many frames: none for one frame.
const fn table_len(frames: u64) -> u64 {
    if frames > 1 { frames.saturating_mul(ENTRY_LEN) } else { 0 }
}

/// The frames of a record, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameTable(pub Vec<FrameEntry>);

impl FrameTable {
    /// The bytes that follow the frames: none if there is one frame only.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.0.len() > 1 {
            for entry in &self.0 {
                put(&mut out, &[&entry.stored.to_le_bytes(), &entry.checksum.to_le_bytes()]);
            }
        }
        out
    }

    /// What the record's header says of this table: its checksum, or that of the only frame.
    pub fn body_checksum(&self) -> u64 {
        match self.0.as_slice() {
            [only] => only.checksum,
            _ => checksum_of(&self.encode()),
        }
    }

    /// The table of a record whose table bytes (none for one frame) are given; `None` if they are damaged or do not
    /// add up to what the header says.
    pub fn decode(bytes: &[u8], header: &RecordHeader) -> Option<Self> {
        if header.frames() == 1 {
            let stored = u32::try_from(header.stored).ok()?;
            return Some(Self(vec![FrameEntry { stored, checksum: header.body_checksum }]));
        }
        if bytes.len() as u64 != header.table_len() || checksum_of(bytes) != header.body_checksum {
            return None;
        }
        let mut fields = Fields(bytes);
        let mut table = Vec::with_capacity(bytes.len() / ENTRY_LEN as usize);
        while let (Some(stored), Some(checksum)) = (fields.u32(), fields.u64()) {
            if u64::from(stored) > FRAME_SIZE + FRAME_GROWTH_MAX {
                return None;
            }
            table.push(FrameEntry { stored, checksum });
        }
        let sum: u64 = table.iter().map(|entry| u64::from(entry.stored)).sum();
        (sum.checked_add(header.table_len())? == header.stored).then_some(Self(table))
    }
}
