//! The footer of a sealed pack: one entry a record, in blocks with a checksum each, so that a start reads footers and
//! not data.

use super::fields::keyed_checksum;
use super::{ALIGNMENT, Encoding, Fields, PackId, VolumeKeys, put};
use crate::{Digest, DigestFunction, Level};

const MAGIC: &[u8; 4] = b"MPfb";
const HASH_LEN: usize = 32;
/// Entries in each block but the last: 64 KiB of them.
const BLOCK_ENTRIES: usize = 1024;
const BLOCK_HEADER: usize = 4 + 4 + 4 + 4;
const CHECKSUM: usize = 8;

/// What a footer says of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterEntry {
    /// The blob.
    pub digest: Digest,
    /// Where its record starts, in units of 8 bytes.
    pub offset: u32,
    /// Bytes of frames and frame table, without header and padding.
    pub stored: u64,
    /// When it was written.
    pub time: Level,
    /// How its frames are stored.
    pub encoding: Encoding,
}

impl FooterEntry {
    /// Its bytes in a footer, with a SHA-256 hash; the hash stands last.
    pub const LEN: usize = 4 + 4 + 8 + 8 + 4 + 4 + HASH_LEN;

    fn encode(&self, out: &mut Vec<u8>) {
        put(
            out,
            &[
                &self.offset.to_le_bytes(),
                &self.time.seconds().to_le_bytes(),
                &self.digest.size().to_le_bytes(),
                &self.stored.to_le_bytes(),
                &[self.digest.function() as u8, self.encoding as u8, HASH_LEN as u8, 0],
                &[0; 4],
                self.digest.hash(),
            ],
        );
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let (offset, time) = (fields.u32()?, Level::from_seconds(fields.u32()?));
        let (size, stored) = (fields.u64()?, fields.u64()?);
        let [function, encoding, hash_len, _] = fields.array()?;
        fields.u32()?;
        if usize::from(hash_len) != HASH_LEN {
            return None;
        }
        let digest = Digest::from_parts(DigestFunction::from_number(function)?, fields.array()?, size)?;
        Some(Self { digest, offset, stored, time, encoding: Encoding::from_number(encoding)? })
    }
}

const _: () = assert!(FooterEntry::LEN == 64);

/// The bytes of a footer of so many entries.
pub fn footer_len(entries: usize) -> usize {
    entries * FooterEntry::LEN + entries.div_ceil(BLOCK_ENTRIES) * (BLOCK_HEADER + CHECKSUM)
}

/// The blocks of a footer that starts at `offset` of a pack.
pub fn encode_footer(keys: &VolumeKeys, pack: PackId, offset: u64, entries: &[FooterEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(footer_len(entries.len()));
    for (number, block) in (0_u32..).zip(entries.chunks(BLOCK_ENTRIES)) {
        let start = out.len();
        let count = u32::try_from(block.len()).unwrap_or(u32::MAX);
        put(&mut out, &[MAGIC, &pack.number().to_le_bytes(), &number.to_le_bytes(), &count.to_le_bytes()]);
        for entry in block {
            entry.encode(&mut out);
        }
        let written = out.get(start..).unwrap_or_default();
        let checksum = keyed_checksum(&keys.salt, pack.number(), offset + start as u64, written);
        put(&mut out, &[&checksum.to_le_bytes()]);
    }
    out
}

/// All entries of a footer that starts at `offset` of a pack; `None` if any block is damaged or entries are missing.
pub fn decode_footer(
    bytes: &[u8],
    keys: &VolumeKeys,
    pack: PackId,
    offset: u64,
    entries: u32,
) -> Option<Vec<FooterEntry>> {
    let mut fields = Fields(bytes);
    let mut found = Vec::with_capacity(bytes.len() / FooterEntry::LEN);
    let mut number = 0;
    while !fields.0.is_empty() {
        let start = bytes.len() - fields.0.len();
        decode_block(&mut fields, (keys, pack, offset + start as u64), number, &mut found)?;
        number += 1;
    }
    (found.len() == usize::try_from(entries).ok()?).then_some(found)
}

fn decode_block(
    fields: &mut Fields<'_>,
    (keys, pack, offset): (&VolumeKeys, PackId, u64),
    number: u32,
    found: &mut Vec<FooterEntry>,
) -> Option<()> {
    let whole = fields.0;
    let (magic, block_pack, block) = (fields.array::<4>()?, fields.u32()?, fields.u32()?);
    let count = usize::try_from(fields.u32()?).ok().filter(|count| *count <= BLOCK_ENTRIES)?;
    if magic != *MAGIC || block_pack != pack.number() || block != number {
        return None;
    }
    let mut entries = Fields(fields.bytes(count * FooterEntry::LEN)?);
    let covered = whole.get(..whole.len() - fields.0.len())?;
    if keyed_checksum(&keys.salt, pack.number(), offset, covered) != fields.u64()? {
        return None;
    }
    for _ in 0..count {
        found.push(FooterEntry::decode(&mut entries)?);
    }
    Some(())
}

const _: () = assert!(BLOCK_HEADER.is_multiple_of(ALIGNMENT as usize));
