//! The format file: which format the volume has, and its keys. Kept twice.
//!
//! Whatever later formats add, magic, version, length and the checksum at the end stay where they are: a release must
//! be able to tell a newer volume from a damaged file.

use twox_hash::XxHash3_64;

use super::{FORMAT_VERSION, Fields, VolumeKeys, put};
use crate::Level;

const MAGIC: &[u8; 8] = b"MILLPOND";
/// What a later format may make of it.
const LEN_MAX: usize = 4096;

/// What a format file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatFile {
    /// The volume's keys.
    pub keys: VolumeKeys,
    /// When the volume was made.
    pub created: Level,
}

/// What the bytes of a format file turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionFound {
    /// Of the format that this release knows.
    Known(FormatFile),
    /// Whole, but of this later format.
    Newer(u32),
    /// No format file, or one whose checksum is wrong.
    Damaged,
}

impl FormatFile {
    /// Its bytes in the file, which is as long.
    pub const LEN: usize = 8 + 4 + 4 + 16 + 16 + 16 + 4 + 4 + 8;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        put(
            &mut out,
            &[
                MAGIC,
                &FORMAT_VERSION.to_le_bytes(),
                &(Self::LEN as u32).to_le_bytes(),
                &self.keys.id,
                &self.keys.secret,
                &self.keys.salt,
                &self.created.seconds().to_le_bytes(),
                &[0; 4],
            ],
        );
        let checksum = XxHash3_64::oneshot(&out);
        put(&mut out, &[&checksum.to_le_bytes()]);
        out
    }

    /// What `bytes` are.
    pub fn decode(bytes: &[u8]) -> VersionFound {
        Self::decode_whole(bytes).unwrap_or(VersionFound::Damaged)
    }

    fn decode_whole(bytes: &[u8]) -> Option<VersionFound> {
        let mut fields = Fields(bytes);
        if fields.array()? != *MAGIC {
            return None;
        }
        let (version, len) = (fields.u32()?, usize::try_from(fields.u32()?).ok()?);
        let (body, checksum) = bytes.get(..len.min(LEN_MAX))?.split_last_chunk::<8>()?;
        if XxHash3_64::oneshot(body) != u64::from_le_bytes(*checksum) {
            return None;
        }
        if version > FORMAT_VERSION {
            return Some(VersionFound::Newer(version));
        }
        let keys = VolumeKeys { id: fields.array()?, secret: fields.array()?, salt: fields.array()? };
        let created = Level::from_seconds(fields.u32()?);
        (version == FORMAT_VERSION && len == Self::LEN).then_some(VersionFound::Known(Self { keys, created }))
    }
}

const _: () = assert!(FormatFile::LEN == 80);
