//! The first and the last bytes of a pack: header and trailer. Both hold the volume's keys, so that a volume whose
//! format files are both bad still knows them.

use twox_hash::XxHash3_64;

use super::fields::keyed_checksum;
use super::{FORMAT_VERSION, Fields, PackId, VolumeKeys, put};
use crate::Level;

const HEADER_MAGIC: &[u8; 8] = b"MILLPACK";
const TRAILER_MAGIC: &[u8; 8] = b"MILLTAIL";
const KEYS: usize = 16 + 16 + 16;
const VERSION: u16 = 1;
const _: () = assert!(VERSION as u32 == FORMAT_VERSION);

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PackKind {
    /// Many blobs, appended in the order they came.
    Mixed = 1,
    /// One large blob, whose record header is written last.
    Single = 2,
}

impl PackKind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Mixed, Self::Single].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The start of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// Many blobs or one.
    pub kind: PackKind,
    /// The pack's number.
    pub id: PackId,
    /// The volume's keys.
    pub keys: VolumeKeys,
    /// When the pack was made.
    pub created: Level,
}

impl PackHeader {
    /// Its bytes in the file; the first record follows.
    pub const LEN: usize = 8 + 2 + 1 + 1 + 4 + KEYS + 4 + 4 + 8;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        put(
            &mut out,
            &[
                HEADER_MAGIC,
                &VERSION.to_le_bytes(),
                &[self.kind as u8, 0],
                &self.id.number().to_le_bytes(),
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

    /// The header at the start of `bytes`, if it is one and its checksum is right.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = split_checksum(bytes, Self::LEN)?;
        let mut fields = Fields(body);
        if XxHash3_64::oneshot(body) != checksum
            || fields.array()? != *HEADER_MAGIC
            || fields.u16()? != VERSION
        {
            return None;
        }
        let kind = PackKind::from_number(fields.u8()?)?;
        fields.u8()?;
        let id = PackId::new(fields.u32()?);
        let keys = decode_keys(&mut fields)?;
        Some(Self { kind, id, keys, created: Level::from_seconds(fields.u32()?) })
    }
}

/// The end of a sealed pack: says where its footer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Many blobs or one.
    pub kind: PackKind,
    /// The pack's number.
    pub id: PackId,
    /// The volume's keys.
    pub keys: VolumeKeys,
    /// Where the footer starts, in bytes.
    pub footer_offset: u64,
    /// How long it is, in bytes; the trailer follows.
    pub footer_len: u64,
    /// Entries in the footer.
    pub entries: u32,
    /// The latest time of writing of its records.
    pub newest: Level,
}

impl Trailer {
    /// Its bytes in the file, the last ones.
    pub const LEN: usize = 8 + 2 + 1 + 1 + 4 + KEYS + 8 + 8 + 4 + 4 + 8;

    /// The length of the whole pack.
    pub const fn file_len(&self) -> u64 {
        self.footer_offset.saturating_add(self.footer_len).saturating_add(Self::LEN as u64)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        put(
            &mut out,
            &[
                TRAILER_MAGIC,
                &VERSION.to_le_bytes(),
                &[self.kind as u8, 0],
                &self.id.number().to_le_bytes(),
                &self.keys.id,
                &self.keys.secret,
                &self.keys.salt,
                &self.footer_offset.to_le_bytes(),
                &self.footer_len.to_le_bytes(),
                &self.entries.to_le_bytes(),
                &self.newest.seconds().to_le_bytes(),
            ],
        );
        let checksum = self.checksum(&out);
        put(&mut out, &[&checksum.to_le_bytes()]);
        out
    }

    /// The trailer that `bytes` are, if its checksum is right and its parts add up.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = split_checksum(bytes, Self::LEN)?;
        let mut fields = Fields(body);
        if fields.array()? != *TRAILER_MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let kind = PackKind::from_number(fields.u8()?)?;
        fields.u8()?;
        let id = PackId::new(fields.u32()?);
        let keys = decode_keys(&mut fields)?;
        let (footer_offset, footer_len) = (fields.u64()?, fields.u64()?);
        let (entries, newest) = (fields.u32()?, Level::from_seconds(fields.u32()?));
        let trailer = Self { kind, id, keys, footer_offset, footer_len, entries, newest };
        (trailer.checksum(body) == checksum).then_some(trailer)
    }

    fn checksum(&self, body: &[u8]) -> u64 {
        keyed_checksum(&self.keys.salt, self.id.number(), self.footer_offset, body)
    }
}

fn decode_keys(fields: &mut Fields<'_>) -> Option<VolumeKeys> {
    Some(VolumeKeys { id: fields.array()?, secret: fields.array()?, salt: fields.array()? })
}

/// The first `len` bytes, their last eight taken off as the checksum of the others.
fn split_checksum(bytes: &[u8], len: usize) -> Option<(&[u8], u64)> {
    let (body, checksum) = bytes.get(..len)?.split_last_chunk::<8>()?;
    Some((body, u64::from_le_bytes(*checksum)))
}

const _: () = assert!(PackHeader::LEN == 80 && Trailer::LEN == 96);
