//! `docs/on-disk-format.md` says what the code does: its example bytes are decoded by the code and are what it writes,
//! and the sizes in its tables add up to the code's. `UPDATE=1` writes the examples into it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::blobs::encoding::encode_record;
use crate::{Digest, Level};

const PACK: PackId = PackId::new(0x12c);
const WRITTEN: Level = Level::from_seconds(0x0d00_0000);
const KEYS: VolumeKeys =
    VolumeKeys { id: *b"volume id (16 B)", secret: *b"secret (16 byte)", salt: *b"salt: 16 bytes.." };
const CONTENT: &[u8] = b"millpond";

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/on-disk-format.md"))
}

/// Tests run beside each other: nobody reads while one writes.
static DOCUMENT: Mutex<()> = Mutex::new(());

fn document() -> String {
    let _one = DOCUMENT.lock().unwrap();
    std::fs::read_to_string(path()).unwrap()
}

/// The bytes of an example.
pub(in crate::blobs) fn example(name: &str) -> Vec<u8> {
    let document = document();
    let fence = format!("```hex {name}\n");
    let (_, rest) = document.split_once(&fence).unwrap_or_else(|| panic!("no example of {name}"));
    let (block, _) = rest.split_once("```").unwrap();
    let digits: Vec<u8> = block.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The code writes just these bytes.
pub(in crate::blobs) fn assert_written(name: &str, written: &[u8]) {
    if std::env::var_os("UPDATE").is_some() {
        update(name, written);
    }
    assert_eq!(example(name), written, "{name}: UPDATE=1 writes what the code does");
}

fn update(name: &str, written: &[u8]) {
    let _one = DOCUMENT.lock().unwrap();
    let document = std::fs::read_to_string(path()).unwrap();
    let fence = format!("```hex {name}\n");
    let (before, rest) = document.split_once(&fence).unwrap();
    let (_, after) = rest.split_once("```").unwrap();
    let mut block = String::new();
    for line in written.chunks(16) {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(block, "{}", digits.join(" ")).unwrap();
    }
    std::fs::write(path(), format!("{before}{fence}{block}```{after}")).unwrap();
}

/// Adds up the sizes in the table of a structure, whose offsets must follow from them.
pub(in crate::blobs) fn table_len(name: &str) -> usize {
    let document = document();
    let heading = format!("Layout of `{name}`");
    let (_, rest) = document.split_once(&heading).unwrap_or_else(|| panic!("no layout of {name}"));
    let mut end = 0;
    for row in rest.lines().skip_while(|line| !line.starts_with("| ")).skip(2) {
        let Some(row) = row.strip_prefix("| ") else { break };
        let mut columns = row.split(" | ");
        let offset: usize = columns.next().unwrap().parse().unwrap();
        assert_eq!(offset, end, "{name}: the fields do not follow each other");
        end += columns.next().unwrap().parse::<usize>().unwrap();
    }
    end
}

fn record(content: &[u8]) -> (RecordHeader, Vec<u8>) {
    let place = Place::at(PACK, PackHeader::LEN as u64).unwrap();
    let mut bytes = Vec::new();
    let context = (&KEYS, place, 0, WRITTEN);
    let header = encode_record(context, &Digest::of(content), content, Encoding::Raw, &mut bytes);
    (header, bytes)
}

#[test]
fn tables_add_up_to_the_sizes_in_the_code() {
    for (name, len) in [
        ("format file", FormatFile::LEN),
        ("pack header", PackHeader::LEN),
        ("record header", RecordHeader::LEN),
        ("footer entry", FooterEntry::LEN),
        ("footer block", 16 + FooterEntry::LEN + 8),
        ("frame table entry", 12),
        ("trailer", Trailer::LEN),
    ] {
        assert_eq!(table_len(name), len, "{name}");
    }
}

#[test]
fn format_file_of_the_document_is_one() {
    let file = FormatFile { keys: KEYS, created: WRITTEN };
    assert_written("format file", &file.encode());
    assert_eq!(FormatFile::decode(&example("format file")), VersionFound::Known(file));
}

#[test]
fn pack_header_of_the_document_is_one() {
    let header = PackHeader { kind: PackKind::Mixed, id: PACK, keys: KEYS, created: WRITTEN };
    assert_written("pack header", &header.encode());
    assert_eq!(PackHeader::decode(&example("pack header")), Some(header));
}

#[test]
fn record_of_the_document_is_one() {
    let (header, bytes) = record(CONTENT);
    assert_written("record", &bytes);
    let bytes = example("record");
    let decoded = RecordHeader::decode(&bytes, &KEYS, PACK, PackHeader::LEN as u64).unwrap();
    assert_eq!((decoded, decoded.digest), (header, Digest::of(CONTENT)));
    assert_eq!(bytes.len() as u64, decoded.record_len());
    assert_eq!(&bytes[RecordHeader::LEN..], CONTENT);
    assert_eq!(checksum_of(CONTENT), decoded.body_checksum);
}

#[test]
fn frame_table_of_the_document_is_one() {
    let content = Bytes::from(vec![0; FRAME_SIZE as usize + 3]);
    let (header, bytes) = record(&content);
    let start = RecordHeader::LEN + content.len();
    assert_written("frame table", &bytes[start..start + 24]);
    let table = FrameTable::decode(&example("frame table"), &header).unwrap();
    let stored: Vec<_> = table.0.iter().map(|entry| entry.stored).collect();
    assert_eq!(stored, [FRAME_SIZE as u32, 3]);
    assert_eq!(table.0[1].checksum, checksum_of(&[0; 3]));
}

#[test]
fn footer_and_trailer_of_the_document_are_those_of_its_record() {
    let (header, bytes) = record(CONTENT);
    let entry = FooterEntry {
        digest: header.digest,
        offset: (PackHeader::LEN / 8) as u32,
        stored: header.stored,
        time: WRITTEN,
        encoding: Encoding::Raw,
    };
    let offset = (PackHeader::LEN + bytes.len()) as u64;
    assert_written("footer", &encode_footer(&KEYS, PACK, offset, &[entry]));
    let footer = example("footer");
    assert_eq!(decode_footer(&footer, &KEYS, PACK, offset, 1), Some(vec![entry]));
    let trailer = Trailer {
        kind: PackKind::Mixed,
        id: PACK,
        keys: KEYS,
        footer_offset: offset,
        footer_len: footer.len() as u64,
        entries: 1,
        newest: WRITTEN,
    };
    assert_written("trailer", &trailer.encode());
    assert_eq!(Trailer::decode(&example("trailer")), Some(trailer));
}
