//! Anything written decodes to itself; nothing else decodes to anything, nor makes decoding panic.

use proptest::prelude::*;

use super::*;
use crate::{Digest, DigestFunction, Level};

fn keys() -> impl Strategy<Value = VolumeKeys> {
    any::<([u8; 16], [u8; 16], [u8; 16])>().prop_map(|(id, secret, salt)| VolumeKeys { id, secret, salt })
}

/// A record says its frames in 32 bits.
const SIZE_MAX: u64 = u32::MAX as u64 * FRAME_SIZE;

fn digest() -> impl Strategy<Value = Digest> {
    let sizes = prop_oneof![0_u64..5000, 0..(1_u64 << 40), Just(SIZE_MAX)];
    (any::<[u8; 32]>(), sizes)
        .prop_map(|(hash, size)| Digest::from_parts(DigestFunction::Sha256, hash, size).unwrap())
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Raw), Just(Encoding::Zstd)]
}

fn header() -> impl Strategy<Value = RecordHeader> {
    (digest(), encoding(), any::<(u32, u32, u64)>()).prop_map(
        |(digest, encoding, (sequence, time, body_checksum))| {
            let mut header = RecordHeader {
                digest,
                encoding,
                sequence,
                stored: 0,
                time: Level::from_seconds(time),
                body_checksum,
            };
            header.stored = digest.size().saturating_add(header.table_len());
            header
        },
    )
}

fn entry() -> impl Strategy<Value = FooterEntry> {
    (digest(), encoding(), any::<(u32, u64, u32)>()).prop_map(|(digest, encoding, (offset, stored, time))| {
        FooterEntry { digest, offset, stored, time: Level::from_seconds(time), encoding }
    })
}

proptest! {
    #[test]
    fn record_headers_decode_to_themselves_and_nowhere_else(
        header in header(),
        keys in keys(),
        other in keys(),
        pack in 1_u32..,
        offset in 0_u64..1 << 35,
        flip in 0..RecordHeader::LEN * 8,
    ) {
        let pack = PackId::new(pack);
        let mut bytes = vec![];
        header.encode(&keys, pack, offset, &mut bytes);
        prop_assert_eq!(bytes.len(), RecordHeader::LEN);
        prop_assert_eq!(RecordHeader::decode(&bytes, &keys, pack, offset), Some(header));
        prop_assert_eq!(RecordHeader::decode(&bytes, &keys, pack, offset + 8), None);
        prop_assert_eq!(RecordHeader::decode(&bytes, &keys, PackId::NONE, offset), None);
        prop_assert_eq!(RecordHeader::decode(&bytes, &other, pack, offset), None);
        prop_assert_eq!(RecordHeader::decode(&bytes[1..], &keys, pack, offset), None);
        bytes[flip / 8] ^= 1 << (flip % 8);
        prop_assert_eq!(RecordHeader::decode(&bytes, &keys, pack, offset), None);
    }

    #[test]
    fn records_of_impossible_length_are_refused(header in header(), keys in keys(), wrong: u64) {
        let mut wrong_header = header;
        wrong_header.stored = wrong;
        let mut bytes = vec![];
        wrong_header.encode(&keys, PackId::new(1), 80, &mut bytes);
        let decoded = RecordHeader::decode(&bytes, &keys, PackId::new(1), 80);
        let growth = match header.encoding {
            Encoding::Raw => 0,
            Encoding::Zstd => header.frames().saturating_mul(FRAME_GROWTH_MAX),
        };
        prop_assert!(decoded.is_none() || wrong <= header.stored.saturating_add(growth));
        prop_assert!(decoded.is_none() || header.encoding == Encoding::Zstd || wrong == header.stored);
    }

    #[test]
    fn records_of_more_frames_than_can_be_said_are_refused(beyond in SIZE_MAX + 1..=i64::MAX as u64, keys in keys()) {
        let digest = Digest::from_parts(DigestFunction::Sha256, [0; 32], beyond).unwrap();
        let (time, encoding) = (Level::ZERO, Encoding::Raw);
        let mut header = RecordHeader { digest, encoding, sequence: 0, stored: 0, time, body_checksum: 0 };
        header.stored = beyond.saturating_add(header.table_len());
        let mut bytes = vec![];
        header.encode(&keys, PackId::new(1), 80, &mut bytes);
        prop_assert_eq!(RecordHeader::decode(&bytes, &keys, PackId::new(1), 80), None);
    }

    #[test]
    fn footers_decode_to_themselves(entries in prop::collection::vec(entry(), 0..3000), keys in keys(), flip: usize) {
        let pack = PackId::new(9);
        let count = entries.len() as u32;
        let mut bytes = encode_footer(&keys, pack, 4096, &entries);
        prop_assert_eq!(decode_footer(&bytes, &keys, pack, 4096, count + 1), None);
        prop_assert_eq!(decode_footer(&bytes, &keys, pack, 4104, count).is_some(), entries.is_empty());
        prop_assert_eq!(decode_footer(&bytes, &keys, pack, 4096, count), Some(entries));
        if !bytes.is_empty() {
            let flip = flip % (bytes.len() * 8);
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(decode_footer(&bytes, &keys, pack, 4096, count), None);
        }
    }

    #[test]
    fn headers_trailers_and_format_files_decode_to_themselves_and_not_with_a_flipped_bit(
        keys in keys(), id: u32, single: bool, numbers: (u64, u64, u32, u32), flip: usize,
    ) {
        let kind = if single { PackKind::Single } else { PackKind::Mixed };
        let (footer_offset, footer_len, entries, time) = numbers;
        let (id, time) = (PackId::new(id), Level::from_seconds(time));
        let header = PackHeader { kind, id, keys, created: time };
        let trailer = Trailer { kind, id, keys, footer_offset, footer_len, entries, newest: time };
        let format = FormatFile { keys, created: time };
        let (mut a, mut b, mut c) = (header.encode(), trailer.encode(), format.encode());
        prop_assert_eq!(PackHeader::decode(&a), Some(header));
        prop_assert_eq!(Trailer::decode(&b), Some(trailer));
        prop_assert_eq!(FormatFile::decode(&c), VersionFound::Known(format));
        for bytes in [&mut a, &mut b, &mut c] {
            let flip = flip % (bytes.len() * 8);
            bytes[flip / 8] ^= 1 << (flip % 8);
        }
        prop_assert_eq!(PackHeader::decode(&a), None);
        prop_assert_eq!(Trailer::decode(&b), None);
        prop_assert_eq!(FormatFile::decode(&c), VersionFound::Damaged);
    }

    #[test]
    fn frame_tables_that_do_not_add_up_are_refused(stored in prop::collection::vec(0_u32..3 << 20, 2..20), keep: bool) {
        let table = FrameTable(stored.iter().map(|stored| FrameEntry { stored: *stored, checksum: 5 }).collect());
        let bytes = table.encode();
        let sum: u64 = stored.iter().map(|stored| u64::from(*stored)).sum();
        let size = FRAME_SIZE * stored.len() as u64;
        let header = RecordHeader {
            digest: Digest::from_parts(DigestFunction::Sha256, [0; 32], size).unwrap(),
            encoding: Encoding::Zstd,
            sequence: 0,
            stored: sum + bytes.len() as u64 + u64::from(!keep),
            time: Level::ZERO,
            body_checksum: table.body_checksum(),
        };
        let possible = stored.iter().all(|stored| u64::from(*stored) <= FRAME_SIZE + FRAME_GROWTH_MAX);
        let decoded = FrameTable::decode(&bytes, &header);
        prop_assert_eq!(decoded, (keep && possible).then_some(table));
    }

    #[test]
    fn chance_bytes_are_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400), keys in keys(), entries: u32) {
        prop_assert_eq!(RecordHeader::decode(&bytes, &keys, PackId::new(1), 80), None);
        prop_assert_eq!(PackHeader::decode(&bytes), None);
        prop_assert_eq!(Trailer::decode(&bytes), None);
        prop_assert_eq!(FormatFile::decode(&bytes), VersionFound::Damaged);
        if !bytes.is_empty() {
            prop_assert_eq!(decode_footer(&bytes, &keys, PackId::new(1), 0, entries), None);
        }
    }
}
