//! A blob may contain what looks like a pack. A search never takes it for one.

use super::*;
use crate::blobs::encoding::encode_record;
use crate::blobs::format::{Encoding, PackHeader, PackKind, RecordHeader};

/// The content of the only record of a pack starts here.
const CONTENT: u64 = (PackHeader::LEN + RecordHeader::LEN) as u64;

/// Puts `content` into a pack whose first record then goes bad, and says what a search finds.
fn found_behind_a_bad_header(content: Vec<u8>) -> Vec<Digest> {
    let disk = memory();
    let pack = open_pack(&disk);
    let good = blob(9, 50);
    append(&pack, &[named(content), good.clone()]);
    pack.sync().unwrap();
    overwrite(disk.as_ref(), PackState::Open, PackHeader::LEN as u64 + 16, &[0xff; 8]);
    let sealed = search_and_seal(disk.as_ref(), &KEYS, ID).unwrap();
    assert_readable(disk.as_ref(), &sealed.entries);
    assert!(digests(&sealed.entries).contains(&good.0));
    digests(&sealed.entries)
}

/// A record that claims `digest` for other content, as it would be written at `offset` of the pack.
fn forged(keys: &VolumeKeys, id: PackId, offset: u64, digest: &Digest, content: &[u8]) -> Vec<u8> {
    let place = Place::at(id, offset).unwrap();
    let mut record = Vec::new();
    encode_record((keys, place, 0, NOW), digest, content, Encoding::Raw, &mut record);
    record
}

#[test]
fn forged_record_without_the_salt_is_not_found() {
    let victim = blob(7, 40).0;
    let guessed = VolumeKeys { salt: [0; 16], ..KEYS };
    let found = found_behind_a_bad_header(forged(&guessed, ID, CONTENT, &victim, &[0; 40]));
    assert_eq!(found, [blob(9, 50).0]);
}

#[test]
fn record_copied_from_another_pack_or_place_is_not_found() {
    let (digest, content) = blob(7, 40);
    let other_pack = forged(&KEYS, PackId::new(5), CONTENT, &digest, &content);
    assert_eq!(found_behind_a_bad_header(other_pack), [blob(9, 50).0]);
    let other_place = forged(&KEYS, ID, PackHeader::LEN as u64, &digest, &content);
    assert_eq!(found_behind_a_bad_header(other_place), [blob(9, 50).0]);
}

#[test]
fn forged_record_even_with_the_salt_is_hashed_and_not_found() {
    let victim = blob(7, 40).0;
    let found = found_behind_a_bad_header(forged(&KEYS, ID, CONTENT, &victim, &[0; 40]));
    assert_eq!(found, [blob(9, 50).0]);
    // The same with the right content is found: the test above would see a forged one.
    let (digest, content) = blob(7, 40);
    let found = found_behind_a_bad_header(forged(&KEYS, ID, CONTENT, &digest, &content));
    assert_eq!(found, [digest, blob(9, 50).0]);
}

#[test]
fn whole_sealed_pack_as_content_is_never_served() {
    let other = memory();
    let pack = open_pack(&other);
    append(&pack, &(0..20).map(|seed| blob(seed + 100, 64)).collect::<Vec<_>>());
    pack.seal().unwrap();
    let content = file_bytes(other.as_ref(), PackState::Sealed);
    assert_eq!(PackHeader::decode(&content).unwrap().kind, PackKind::Mixed);
    assert_eq!(found_behind_a_bad_header(content), [blob(9, 50).0]);
}
