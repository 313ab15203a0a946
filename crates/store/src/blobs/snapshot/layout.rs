//! The bytes of a snapshot: encode and decode side by side. All numbers are little-endian.
//!
//! **Invariant:** a block's checksum is seeded by the snapshot's generation and covers the block's number, so that no
//! block of another snapshot, and none in another order, passes for it. Decoding never panics.

use twox_hash::XxHash3_64;

use super::super::format::{Fields, PackId, Place, put};
use super::super::index::{Entry, Key, Location, Stored};
use super::Content;
use crate::Level;

const MAGIC: &[u8; 8] = b"MILLSNAP";
const VERSION: u32 = 1;
const BLOCK_MAGIC: &[u8; 4] = b"MPsb";
const CHECKSUM: usize = 8;

/// Items in each block but the last of its kind.
pub(super) const ITEMS_MAX: u32 = 2048;
/// Pack number, zeros, length.
pub(super) const PACK_LEN: usize = 4 + 4 + 8;
/// Key, pack, offset, stored size, level.
pub(super) const ENTRY_LEN: usize = 8 + 8 + 4 + 4 + 4 + 4;

/// The start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) volume: [u8; 16],
    pub(super) generation: u64,
    pub(super) level: Level,
    pub(super) last_pack: PackId,
}

impl Header {
    pub(super) const LEN: usize = 8 + 4 + 4 + 16 + 8 + 4 + 4 + CHECKSUM;

    pub(super) fn of(content: &Content) -> Self {
        let Content { volume, generation, level, last_pack, .. } = *content;
        Self { volume, generation, level, last_pack }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        put(
            &mut out,
            &[
                MAGIC,
                &VERSION.to_le_bytes(),
                &[0; 4],
                &self.volume,
                &self.generation.to_le_bytes(),
                &self.level.seconds().to_le_bytes(),
                &self.last_pack.number().to_le_bytes(),
            ],
        );
        let checksum = XxHash3_64::oneshot(&out);
        put(&mut out, &[&checksum.to_le_bytes()]);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.get(..Self::LEN)?.split_last_chunk::<CHECKSUM>()?;
        let mut fields = Fields(body);
        let known = fields.array()? == *MAGIC && fields.u32()? == VERSION;
        fields.u32()?;
        let volume = fields.array()?;
        let generation = fields.u64()?;
        let (level, last_pack) = (Level::from_seconds(fields.u32()?), PackId::new(fields.u32()?));
        let whole = XxHash3_64::oneshot(body) == u64::from_le_bytes(*checksum);
        (known && whole).then_some(Self { volume, generation, level, last_pack })
    }
}

const _: () = assert!(Header::LEN == 56 && PACK_LEN == 16 && ENTRY_LEN == 32);

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum BlockKind {
    Packs = 1,
    Entries = 2,
    End = 3,
}

impl BlockKind {
    const fn item_len(self) -> usize {
        match self {
            Self::Packs => PACK_LEN,
            Self::Entries => ENTRY_LEN,
            Self::End => 0,
        }
    }
}

/// The block being written or read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: BlockKind,
    pub(super) items: u32,
    number: u32,
    generation: u64,
    payload: Vec<u8>,
}

impl Block {
    /// Magic, kind, number, count of items.
    pub(super) const HEADER_LEN: usize = 4 + 4 + 4 + 4;

    pub(super) fn first(generation: u64) -> Self {
        Self { kind: BlockKind::Packs, items: 0, number: 0, generation, payload: Vec::new() }
    }

    pub(super) fn push(&mut self, item: &[u8]) {
        self.payload.extend_from_slice(item);
        self.items += 1;
    }

    /// Its bytes; what comes next is the start of a block of kind `next`.
    pub(super) fn finish(&mut self, next: BlockKind) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::HEADER_LEN + self.payload.len() + CHECKSUM);
        put(
            &mut out,
            &[
                BLOCK_MAGIC,
                &(self.kind as u32).to_le_bytes(),
                &self.number.to_le_bytes(),
                &self.items.to_le_bytes(),
                &self.payload,
            ],
        );
        let checksum = XxHash3_64::oneshot_with_seed(self.generation, &out);
        put(&mut out, &[&checksum.to_le_bytes()]);
        self.payload.clear();
        (self.kind, self.items, self.number) = (next, 0, self.number + 1);
        out
    }

    /// The length of the block that begins with this header, if it is the next one.
    pub(super) fn expect(&mut self, header: &[u8]) -> Option<usize> {
        let mut fields = Fields(header);
        let magic = fields.array()?;
        let kind = fields.u32()?;
        let (number, items) = (fields.u32()?, fields.u32()?);
        self.kind = [BlockKind::Packs, BlockKind::Entries, BlockKind::End]
            .into_iter()
            .find(|known| *known as u32 == kind)?;
        self.items = items;
        let fits = magic == *BLOCK_MAGIC && number == self.number && items <= ITEMS_MAX;
        fits.then(|| Self::HEADER_LEN + self.payload_len() + CHECKSUM)
    }

    fn payload_len(&self) -> usize {
        self.kind.item_len() * self.items as usize
    }

    /// The items of the block that was expected, if its checksum is right; then the next one is expected.
    pub(super) fn check<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if XxHash3_64::oneshot_with_seed(self.generation, body) != u64::from_le_bytes(*checksum) {
            return None;
        }
        self.number += 1;
        body.get(Self::HEADER_LEN..)
    }
}

pub(super) fn encode_pack(pack: PackId, len: u64) -> [u8; PACK_LEN] {
    let value = u128::from(pack.number()) | u128::from(len) << 64;
    value.to_le_bytes()
}

pub(super) fn decode_pack(item: &[u8]) -> Option<(PackId, u64)> {
    let mut fields = Fields(item);
    let pack = PackId::new(fields.u32()?);
    fields.u32()?;
    Some((pack, fields.u64()?))
}

pub(super) fn encode_entry(entry: &Entry) -> [u8; ENTRY_LEN] {
    let mut out = [0; ENTRY_LEN];
    let Location { place, stored } = entry.location;
    let fields = [
        u128::from(entry.key.high) | u128::from(entry.key.low) << 64,
        u128::from(place.pack.number())
            | u128::from(place.offset) << 32
            | u128::from(stored.bits()) << 64
            | u128::from(entry.level.seconds()) << 96,
    ];
    for (half, field) in out.chunks_exact_mut(16).zip(fields) {
        half.copy_from_slice(&field.to_le_bytes());
    }
    out
}

/// What was read from the disk is not *checked*, whatever it was before.
pub(super) fn decode_entry(item: &[u8]) -> Option<Entry> {
    let mut fields = Fields(item);
    let key = Key { high: fields.u64()?, low: fields.u64()? };
    let place = Place { pack: PackId::new(fields.u32()?), offset: fields.u32()? };
    let stored = Stored::from_bits(fields.u32()?);
    let level = Level::from_seconds(fields.u32()?);
    (place.pack != PackId::NONE).then_some(Entry {
        key,
        location: Location { place, stored },
        level,
        checked: false,
    })
}
