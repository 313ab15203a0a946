//! How far reading everything again has come, kept over a restart in a file of its own. It is written in place and not
//! synced: where it is lost or torn all is read from the beginning, which costs time and nothing else.

use std::path::Path;

use twox_hash::XxHash3_64;

use crate::blobs::Blobs;
use crate::blobs::format::put;
use crate::disk::Disk;

/// Its name in the data directory.
const FILE: &str = "scrub";
const MAGIC: &[u8; 8] = b"MILLSCRB";

/// How far it has come. Packs are read from the highest number down, so two numbers say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubPosition {
    /// When the pass began, in Unix seconds.
    pub begun: u64,
    /// When one last came to its end, in Unix seconds; 0 if none did.
    pub finished: u64,
    /// The highest pack when the pass began: what came later is for the next.
    pub newest: u32,
    /// The pack at hand: those above it were read; 0 when all were.
    pub at: u32,
}

impl ScrubPosition {
    const LEN: usize = 8 + 8 + 8 + 4 + 4 + 8;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        let (begun, finished) = (self.begun.to_le_bytes(), self.finished.to_le_bytes());
        put(&mut out, &[MAGIC, &begun, &finished, &self.newest.to_le_bytes(), &self.at.to_le_bytes()]);
        let checksum = XxHash3_64::oneshot(&out);
        put(&mut out, &[&checksum.to_le_bytes()]);
        out
    }

    /// `None` if the bytes are none.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (written, checksum) = bytes.split_at_checked(Self::LEN - 8)?;
        let is_whole = checksum == XxHash3_64::oneshot(written).to_le_bytes() && written.starts_with(MAGIC);
        let long = |at: usize| written.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let short = |at: usize| written.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let found = Self { begun: long(8)?, finished: long(16)?, newest: short(24)?, at: short(28)? };
        is_whole.then_some(found)
    }
}

fn read(disk: &dyn Disk) -> Option<ScrubPosition> {
    let file = disk.open(Path::new(FILE)).ok()?;
    let mut bytes = [0; ScrubPosition::LEN];
    let read = file.read_at(&mut bytes, 0).ok()?;
    ScrubPosition::decode(bytes.get(..read)?)
}

impl Blobs {
    /// How far the last server had come with reading everything again, if that is known. Blocks.
    pub fn scrub_position(&self) -> Option<ScrubPosition> {
        read(&*self.shared.disk)
    }

    /// Keeps how far it has come; if it cannot be kept, so be it. Blocks.
    pub fn keep_scrub_position(&self, position: &ScrubPosition) {
        let (disk, path) = (&self.shared.disk, Path::new(FILE));
        let kept = disk.open(path).or_else(|_| disk.create(path));
        if let Err(error) = kept.and_then(|file| file.write_at(&position.encode(), 0)) {
            tracing::debug!(%error, "how far reading all blobs again has come is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::format::document::assert_written;

    const POSITION: ScrubPosition =
        ScrubPosition { begun: 1_790_000_000, finished: 1_789_000_000, newest: 0x12c, at: 0x7b };

    #[test]
    fn document_shows_it() {
        assert_written("scrub", &POSITION.encode());
    }

    #[test]
    fn what_was_written_comes_back_and_nothing_else_does() {
        let bytes = POSITION.encode();
        assert_eq!((bytes.len(), ScrubPosition::decode(&bytes)), (ScrubPosition::LEN, Some(POSITION)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ScrubPosition::decode(&flipped), None, "{bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(ScrubPosition::decode(&bytes[..len]), None, "{len}");
        }
    }
}
