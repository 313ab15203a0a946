//! How far compressing what is cold has come, kept over a restart in a file of its own. It is written in place and not
//! synced: where it is lost or torn every pack is looked at again, which costs time and nothing else.

use std::path::Path;

use twox_hash::XxHash3_64;

use crate::blobs::format::{PackId, put};
use crate::disk::Disk;

/// Its name in the data directory.
const FILE: &str = "compressed";
const MAGIC: &[u8; 8] = b"MILLCOMP";
const LEN: usize = 8 + 4 + 4 + 8;

fn encode(done: PackId) -> Vec<u8> {
    let mut out = Vec::with_capacity(LEN);
    put(&mut out, &[MAGIC, &done.number().to_le_bytes(), &[0; 4]]);
    let checksum = XxHash3_64::oneshot(&out);
    put(&mut out, &[&checksum.to_le_bytes()]);
    out
}

/// `None` if the bytes are none.
fn decode(bytes: &[u8]) -> Option<PackId> {
    let done = bytes.get(8..12)?.first_chunk().map(|bytes| PackId::new(u32::from_le_bytes(*bytes)))?;
    (encode(done) == bytes).then_some(done)
}

/// The highest pack that was looked at, if that is known. Blocks.
pub(super) fn read(disk: &dyn Disk) -> Option<PackId> {
    let file = disk.open(Path::new(FILE)).ok()?;
    let mut bytes = [0; LEN];
    let read = file.read_at(&mut bytes, 0).ok()?;
    decode(bytes.get(..read)?)
}

/// Keeps it; if it cannot be kept, so be it. Blocks.
pub(super) fn write(disk: &dyn Disk, done: PackId) {
    let path = Path::new(FILE);
    let kept = disk.open(path).or_else(|_| disk.create(path));
    if let Err(error) = kept.and_then(|file| file.write_at(&encode(done), 0)) {
        tracing::debug!(%error, "how far compressing has come is not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::format::document::assert_written;

    #[test]
    fn document_shows_it() {
        assert_written("compressed", &encode(PackId::new(0x12c)));
    }

    #[test]
    fn what_was_written_comes_back_and_nothing_else_does() {
        let bytes = encode(PackId::new(0x12c));
        assert_eq!((bytes.len(), decode(&bytes)), (LEN, Some(PackId::new(0x12c))));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "{bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None, "{len}");
        }
    }
}
