//! The layout of everything in a pack, in one place: encode and decode side by side, sizes made from their parts.
//!
//! `docs/on-disk-format.md` describes the same field by field; a test decodes its examples with this code. All numbers
//! are little-endian, records start at multiples of 8. Nothing here reads or writes a file.
//!
//! **Invariant:** decoding never panics and never allocates by a length that no checksum has vouched for.

mod fields;
mod footer;
mod pack;
mod record;
mod volume;

use std::fmt;
use std::path::PathBuf;

pub use footer::{FooterEntry, decode_footer, encode_footer, footer_len};
pub use pack::{PackHeader, PackKind, Trailer};
pub use record::{FrameEntry, FrameTable, RecordHeader, checksum_of, record_len};
pub use volume::{FormatFile, VersionFound};

pub(super) use fields::{Fields, put};

/// The format that this release writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Records, footers and trailers start at multiples of this.
pub const ALIGNMENT: u64 = 8;
/// Content bytes in each frame of a record but the last.
pub const FRAME_SIZE: u64 = 1 << 20;
/// Stored bytes that a compressed frame may have more than its content (zstd's bound for a frame is 4 KiB).
pub const FRAME_GROWTH_MAX: u64 = 8 << 10;

/// The next multiple of [`ALIGNMENT`].
pub const fn align(offset: u64) -> u64 {
    offset.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// In how many frames a blob of this size is stored: at least one, empty for the empty blob.
pub const fn frame_count(size: u64) -> u64 {
    if size == 0 { 1 } else { size.div_ceil(FRAME_SIZE) }
}

/// The number of a pack. Numbers only rise and are never used again; 0 is no pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(u32);

/// Whether a pack is being written, or complete and immutable: what its file's name ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackState {
    /// Being written, or not known to be durable.
    Open,
    /// Complete, with a footer, durable, never changed again.
    Sealed,
}

impl PackId {
    /// No pack.
    pub const NONE: Self = Self(0);

    /// The pack of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The next number, unless all are used up.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The folder of its file: one of 256, by the low byte.
    pub fn folder(self) -> PathBuf {
        pack_folder(self.0.to_le_bytes()[0])
    }

    /// The path of its file.
    pub fn path(self, state: PackState) -> PathBuf {
        self.folder().join(format!("{self}.{}", state.extension()))
    }

    /// The pack and state that a file name in one of the folders says, if it is a pack's.
    pub fn parse_file_name(name: &str) -> Option<(Self, PackState)> {
        let (number, extension) = name.split_once('.')?;
        let state =
            [PackState::Open, PackState::Sealed].into_iter().find(|state| state.extension() == extension)?;
        let id = Self(u32::from_str_radix(number, 16).ok()?);
        (id != Self::NONE && id.to_string() == number).then_some((id, state))
    }
}

/// The folder of the packs whose number has this low byte.
pub fn pack_folder(low_byte: u8) -> PathBuf {
    PathBuf::from(format!("packs/{low_byte:02x}"))
}

impl PackState {
    /// What file names end with after the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "pack",
        }
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", self.0)
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In which pack.
    pub pack: PackId,
    /// Where its header starts, in units of 8 bytes.
    pub offset: u32,
}

impl Place {
    /// The place of a record at a byte offset; `None` beyond the 32 GiB that a place can say, or off the alignment.
    pub fn at(pack: PackId, offset: u64) -> Option<Self> {
        let units = u32::try_from(offset / ALIGNMENT).ok()?;
        offset.is_multiple_of(ALIGNMENT).then_some(Self { pack, offset: units })
    }

    /// Where its header starts, in bytes.
    pub fn byte_offset(self) -> u64 {
        u64::from(self.offset) * ALIGNMENT
    }
}

/// How a record's frames are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// As they are.
    Raw = 0,
    /// Each frame compressed by itself, with zstd.
    Zstd = 1,
}

impl Encoding {
    /// The encoding with this number, if it is known here.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What a volume drew at random when it was made. It stands in the format file, its copy, and every pack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VolumeKeys {
    /// Tells volumes apart; no secret.
    pub id: [u8; 16],
    /// Keys the index's hashes, so that clients cannot make two blobs collide in it.
    pub secret: [u8; 16],
    /// Keys the checksums of record headers, so that clients cannot put forged records into blobs.
    pub salt: [u8; 16],
}

impl fmt::Debug for VolumeKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VolumeKeys({:032x})", u128::from_be_bytes(self.id))
    }
}

#[cfg(test)]
pub(super) mod document;
#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_parse_back_and_nothing_else_does() {
        for number in [1, 0xff, 0x1234_5678, u32::MAX] {
            for state in [PackState::Open, PackState::Sealed] {
                let id = PackId::new(number);
                let path = id.path(state);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(PackId::parse_file_name(name), Some((id, state)));
                assert_eq!(path.parent().unwrap(), pack_folder((number & 0xff) as u8));
            }
        }
        for name in
            ["00000000.pack", "1.pack", "0000001A.pack", "+000001a.pack", "0000001a.pack.bad", "x", ""]
        {
            assert_eq!(PackId::parse_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn places_hold_aligned_offsets_only() {
        let id = PackId::new(7);
        assert_eq!(Place::at(id, 4096).map(Place::byte_offset), Some(4096));
        assert_eq!(Place::at(id, 4097), None);
        assert_eq!(Place::at(id, 1 << 35), None);
    }
}
