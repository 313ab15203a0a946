//! The journal examples of `docs/on-disk-format.md` are what the code writes and reads.

use super::format::*;
use crate::catalog::head::Head;
use crate::catalog::image::tests::{assert_same, example as example_value};
use crate::catalog::{NewValue, Pin, PinTerms, Target, Value, image, pins};
use crate::{Digest, Level};

const SALT: Salt = *b"salt of the file";

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/on-disk-format.md")).unwrap()
}

/// The bytes of an example.
fn example(name: &str) -> Vec<u8> {
    let document = document();
    let (_, rest) = document.split_once(&format!("```hex {name}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let digits: Vec<u8> = block.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn assert_written(name: &str, written: &[u8]) {
    let hex: Vec<_> = written
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x} ")).collect::<String>())
        .collect();
    assert!(example(name) == written, "{name}: the code writes\n{}", hex.join("\n"));
}

#[test]
fn tables_of_the_document_add_up_to_what_the_code_writes() {
    let value = NewValue { target: Target::Blob(Digest::EMPTY), ..example_value() };
    let parts = ["main", "urn:x", "a=b", "ada", "::1", "", "refs"].map(|part| 4 + part.len());
    let nothing = || "".into();
    let terms = PinTerms {
        pattern: nothing(),
        instance: None,
        reason: nothing(),
        owner: nothing(),
        made: 0,
        until: None,
        revisions: 1,
    };
    let pin = pins::encode(&Pin { id: 1, terms });
    let image = image::encode(&Value::new(value, 1)).len() - parts.iter().sum::<usize>() - 4 - image::DIGEST;
    for (name, expected) in [
        (
            "journal header",
            FileHeader { version: VERSION, number: 1, base: 1, salt: SALT }.encode().len() / 2,
        ),
        ("journal record", RECORD_HEADER),
        ("digest", image::DIGEST),
        ("value image", image),
        ("catalog head", Head::default().encode().len()),
        ("pin image", pin.len() - 4 * 4),
    ] {
        let document = document();
        let (_, table) = document.split_once(&format!("Layout of `{name}`")).unwrap();
        let rows = table.lines().skip_while(|line| !line.starts_with("| ")).skip(2);
        let mut end = 0;
        for row in rows.map_while(|row| row.strip_prefix("| ")) {
            let columns: Vec<_> = row.split(" | ").collect();
            assert_eq!(columns[0].parse::<usize>().unwrap(), end, "{name}");
            end += columns[1].parse::<usize>().unwrap();
        }
        assert_eq!(end, expected, "{name}");
    }
}

#[test]
fn journal_file_header_of_the_document_is_one() {
    let header = FileHeader { version: VERSION, number: 3, base: 0x2710, salt: SALT };
    let both = header.encode();
    assert_written("journal header", &both[..both.len() / 2]);
    assert_eq!(FileHeader::decode(&example("journal header")), Some(header));
}

#[test]
fn either_copy_of_the_journal_file_header_will_do() {
    let header = FileHeader { version: VERSION, number: 3, base: 1, salt: SALT };
    for bad in 0..2 {
        let mut both = header.encode();
        both[bad * 64 + 20] ^= 1;
        assert_eq!(FileHeader::decode(&both), Some(header));
        both[(1 - bad) * 64] ^= 1;
        assert_eq!(FileHeader::decode(&both), None);
    }
}

#[test]
fn journal_records_of_the_document_are_ones() {
    let target = Target::Blob(Digest::EMPTY);
    let value = || Value::new(NewValue { target: target.clone(), ..example_value() }, 0x2711);
    let uses = Change::Uses(vec![(0x2711, Level::from_seconds(9))]);
    let levels = Change::Levels(vec![(0x2711, Level::from_seconds(99), Level::from_seconds(9))]);
    for (name, change) in
        [("journal value", Change::Value(value().into())), ("journal uses", uses), ("journal levels", levels)]
    {
        let mut written = Vec::new();
        encode_record(&mut written, &SALT, 0x2711, &change);
        assert_written(name, &written);
        let record = example(name);
        assert_eq!(announced(&record), Some(record.len()));
        let (seq, decoded) = decode_record(&record, &SALT).unwrap();
        assert_eq!(seq, 0x2711);
        match decoded {
            Change::Value(decoded) => assert_same(&decoded, &value()),
            Change::Uses(uses) => assert_eq!(uses, [(0x2711, Level::from_seconds(9))]),
            Change::Levels(levels) => {
                assert_eq!(levels, [(0x2711, Level::from_seconds(99), Level::from_seconds(9))]);
            }
            other => panic!("{other:?}"),
        }
        assert!(decode_record(&record, b"another file's s").is_none());
    }
}

#[test]
fn changed_record_is_none_whatever_bit_was_flipped() {
    let mut record = Vec::new();
    encode_record(&mut record, &SALT, 1, &Change::Damage { pack: 1, offset: 2 });
    for bit in 0..record.len() * 8 {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let whole = announced(&changed).filter(|length| *length == record.len());
        assert!(whole.is_none_or(|_| decode_record(&changed, &SALT).is_none()), "bit {bit}");
    }
}
