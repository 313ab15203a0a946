//! The layout of a journal file: a header, twice, then records. Described in `docs/on-disk-format.md`.
//!
//! A value holds bytes that clients chose, and they may choose what looks like a record. Hence the checksum of a
//! record is keyed by a salt that stands in the file's header only: what a search takes for a record was written as
//! one, in this file.

use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher24;
use twox_hash::XxHash3_64;

use crate::Level;
use crate::catalog::image::{self, Fields};
use crate::catalog::{Pin, VALUE_MAX, Value, pins};

const FILE_MAGIC: [u8; 8] = *b"MILLJRNL";
const RECORD_MAGIC: [u8; 4] = *b"MJR1";
/// The version that is written.
pub(super) const VERSION: u32 = 1;
/// One copy of the file header.
const FILE_HEADER: usize = 64;
/// Both copies, where the first record begins.
pub(super) const FIRST_RECORD: u64 = 2 * FILE_HEADER as u64;
/// What a record has before its payload.
pub(super) const RECORD_HEADER: usize = 32;
const CHECKED: usize = 24;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The longest payload read; uses and values are kept below it.
pub(super) const PAYLOAD_MAX: usize = VALUE_MAX + (1 << 16);

const _: () = assert!(FILE_HEADER == 8 + 4 + 4 + 8 + 8 + 16 + 8 + 8);
const _: () = assert!(RECORD_HEADER == CHECKED + 8 && CHECKED == 4 + 4 + 8 + 4 + 4);

/// The key of the record checksums of one file.
pub(super) type Salt = [u8; 16];

/// The header of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// The format of the file.
    pub(super) version: u32,
    /// The number that its name says.
    pub(super) number: u64,
    /// The number of the last change before it was begun. Records with a higher number are changes; the others copy
    /// what was there already.
    pub(super) base: u64,
    /// Keys the record checksums.
    pub(super) salt: Salt,
}

impl FileHeader {
    /// Both copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(2 * FILE_HEADER);
        copy.extend_from_slice(&FILE_MAGIC);
        copy.extend_from_slice(&self.version.to_le_bytes());
        copy.extend_from_slice(&[0; 4]);
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.base.to_le_bytes());
        copy.extend_from_slice(&self.salt);
        copy.extend_from_slice(&[0; 8]);
        let checksum = XxHash3_64::oneshot(&copy);
        copy.extend_from_slice(&checksum.to_le_bytes());
        copy.extend_from_within(..);
        copy
    }

    /// From the first bytes of a file; either copy will do.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.chunks_exact(FILE_HEADER).take(2).find_map(Self::decode_copy)
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        let (checked, checksum) = copy.split_last_chunk::<8>()?;
        if XxHash3_64::oneshot(checked) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let mut fields = Fields(checked);
        (fields.array()? == FILE_MAGIC).then_some(())?;
        let version = fields.u32()?;
        fields.u32()?;
        Some(Self { version, number: fields.u64()?, base: fields.u64()?, salt: fields.array()? })
    }
}

/// What a record says has happened.
#[derive(Clone, Debug)]
pub(in crate::catalog) enum Change {
    /// This value was published.
    Value(Arc<Value>),
    /// The value with this number was removed.
    Removed(u64),
    /// The values with these numbers were raised.
    Uses(Vec<(u64, Level)>),
    /// The values with these numbers have this level and this time of their last use now.
    Levels(Vec<(u64, Level, Level)>),
    /// The waterline was raised.
    Waterline(Level),
    /// A record of a pack was found bad.
    Damage {
        /// The pack.
        pack: u32,
        /// Its offset there, in units of 8 bytes.
        offset: u32,
    },
    /// The bad records of this pack were forgotten.
    DamageForgotten(u32),
    /// The catalog was opened.
    Opened,
    /// Everything that was there when this file was begun has been copied into it by now.
    Complete,
    /// This pin was made.
    Pinned(Pin),
    /// The pin with this number was taken out.
    Unpinned(u64),
}

impl Change {
    /// About the bytes that its record takes.
    pub(in crate::catalog) fn len(&self) -> usize {
        RECORD_HEADER
            + match self {
                Self::Value(value) => usize::try_from(value.weight()).unwrap_or(usize::MAX),
                Self::Uses(uses) => uses.len() * 12,
                Self::Levels(levels) => levels.len() * 16,
                Self::Pinned(pin) => pins::encode(pin).len(),
                _ => 8,
            }
    }

    fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Value(value) => (1, image::encode(value)),
            Self::Removed(seq) => (2, seq.to_le_bytes().to_vec()),
            Self::Uses(uses) => {
                let one = |(seq, level): &(u64, Level)| {
                    seq.to_le_bytes().into_iter().chain(level.seconds().to_le_bytes())
                };
                (3, uses.iter().flat_map(one).collect())
            }
            Self::Levels(levels) => {
                let one = |(seq, level, touched): &(u64, Level, Level)| {
                    let [level, touched] = [level, touched].map(|time| time.seconds().to_le_bytes());
                    seq.to_le_bytes().into_iter().chain(level).chain(touched)
                };
                (9, levels.iter().flat_map(one).collect())
            }
            Self::Waterline(level) => (4, level.seconds().to_le_bytes().to_vec()),
            Self::Damage { pack, offset } => (5, [pack.to_le_bytes(), offset.to_le_bytes()].concat()),
            Self::DamageForgotten(pack) => (6, pack.to_le_bytes().to_vec()),
            Self::Opened => (7, Vec::new()),
            Self::Complete => (8, Vec::new()),
            Self::Pinned(pin) => (10, pins::encode(pin)),
            Self::Unpinned(id) => (11, id.to_le_bytes().to_vec()),
        }
    }

    pub(super) fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let change = match kind {
            1 => return image::decode(payload).map(|value| Self::Value(Arc::new(value))),
            2 => Self::Removed(fields.u64()?),
            3 => {
                let mut uses = Vec::with_capacity(payload.len() / 12);
                while !fields.0.is_empty() {
                    uses.push((fields.u64()?, Level::from_seconds(fields.u32()?)));
                }
                Self::Uses(uses)
            }
            4 => Self::Waterline(Level::from_seconds(fields.u32()?)),
            5 => Self::Damage { pack: fields.u32()?, offset: fields.u32()? },
            6 => Self::DamageForgotten(fields.u32()?),
            7 => Self::Opened,
            8 => Self::Complete,
            9 => {
                let mut levels = Vec::with_capacity(payload.len() / 16);
                while !fields.0.is_empty() {
                    let seq = fields.u64()?;
                    levels.push((
                        seq,
                        Level::from_seconds(fields.u32()?),
                        Level::from_seconds(fields.u32()?),
                    ));
                }
                Self::Levels(levels)
            }
            10 => return pins::decode(payload).map(Self::Pinned),
            11 => Self::Unpinned(fields.u64()?),
            _ => return None,
        };
        fields.0.is_empty().then_some(change)
    }
}

/// Appends the record of change number `seq` to `buffer`, which must end where a record may begin.
pub(super) fn encode_record(buffer: &mut Vec<u8>, salt: &Salt, seq: u64, change: &Change) {
    let (kind, payload) = change.encode();
    let mut header = Vec::with_capacity(RECORD_HEADER);
    header.extend_from_slice(&RECORD_MAGIC);
    header.extend_from_slice(&[kind, 0, 0, 0]);
    header.extend_from_slice(&seq.to_le_bytes());
    header.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    let checksum = checksum(salt, &header, &payload);
    header.extend_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(&payload);
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
}

/// The length of the record that this header announces, padding included; `None` if it is no header.
pub(super) fn announced(header: &[u8]) -> Option<usize> {
    let mut fields = Fields(header);
    (fields.array()? == RECORD_MAGIC).then_some(())?;
    fields.u32()?;
    fields.u64()?;
    let payload = usize::try_from(fields.u32()?).ok()?;
    (payload <= PAYLOAD_MAX).then(|| (RECORD_HEADER + payload).next_multiple_of(ALIGNMENT))
}

/// Number and change of a record of the announced length, `None` if its checksum is not right.
pub(super) fn decode_record(record: &[u8], salt: &Salt) -> Option<(u64, Change)> {
    let (checked, rest) = record.split_at_checked(CHECKED)?;
    let (written, rest) = rest.split_first_chunk::<8>()?;
    let mut fields = Fields(checked);
    fields.u32()?;
    let [kind, ..] = fields.array::<4>()?;
    let seq = fields.u64()?;
    let payload = rest.get(..usize::try_from(fields.u32()?).ok()?)?;
    if checksum(salt, checked, payload) != u64::from_le_bytes(*written) {
        return None;
    }
    Change::decode(kind, payload).map(|change| (seq, change))
}

fn checksum(salt: &Salt, checked: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(salt);
    hasher.write(checked);
    hasher.write(payload);
    hasher.finish()
}
