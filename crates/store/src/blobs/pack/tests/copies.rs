//! Records copied from one pack to another.

use super::*;
use crate::Error;
use crate::blobs::format::{Encoding, FRAME_SIZE, record_len};

/// Of the same folder as [`ID`].
const OTHER: PackId = PackId::new(0x0000_0307);

fn text(len: u32) -> (Digest, Bytes) {
    named((0..len / 4).flat_map(|number| (number / 5).to_le_bytes()).collect())
}

/// Of one frame and of several, compressed and not, each written at another time.
fn filled(disk: &Arc<MemoryDisk>) -> (OpenPack, Vec<(Digest, Bytes)>) {
    let pack = open_pack(disk);
    let frame = usize::try_from(FRAME_SIZE).unwrap();
    let blobs =
        vec![blob(1, 0), blob(2, 5), text(40_000), blob(3, frame + 77), text(1_500_000), blob(4, 900)];
    for (later, one) in (0..).zip(&blobs) {
        pack.append_batch(std::slice::from_ref(one), NOW.plus(later), Encoding::Zstd).unwrap();
    }
    pack.seal().unwrap();
    (pack, blobs)
}

#[test]
fn copies_have_the_content_the_encoding_and_the_time_of_what_was_copied() {
    let disk = memory();
    let (source, blobs) = filled(&disk);
    let footer = source.reader().footer().unwrap();
    assert!(footer.iter().any(|entry| entry.encoding == Encoding::Zstd));
    let target = OpenPack::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, OTHER, NOW.plus(500)).unwrap();
    let records: Vec<StoredRecord> = footer
        .iter()
        .rev()
        .map(|entry| {
            let place = Place { pack: ID, offset: entry.offset };
            source.reader().stored_record(place, record_len(entry.stored)).unwrap()
        })
        .collect();
    let mut appended = target.append_copies(&records[..2]).unwrap();
    appended.extend(target.append_copies(&records[2..]).unwrap());
    target.seal().unwrap();
    let copy = Arc::new(PackFile::open(disk.as_ref(), &KEYS, OTHER, PackState::Sealed).unwrap());
    for (entry, (copied, appended)) in footer.iter().rev().zip(copy.footer().unwrap().iter().zip(&appended)) {
        assert_eq!(FooterEntry { offset: entry.offset, ..*copied }, *entry);
        assert_eq!((copied.offset, copied.stored), (appended.place.offset, appended.stored));
        let content = copy.read_small(appended.place, &entry.digest, appended.stored).unwrap();
        assert_eq!(Some(&content), blobs.iter().find(|one| one.0 == entry.digest).map(|one| &one.1));
    }
    let found = search_sealed(disk.as_ref(), &KEYS, OTHER).unwrap();
    assert_eq!((found.entries, found.lost), (copy.footer().unwrap(), 0), "a search finds the same");
}

#[test]
fn record_with_a_flipped_bit_is_not_copied() {
    let disk = memory();
    let (source, _) = filled(&disk);
    let good = file_bytes(disk.as_ref(), PackState::Sealed);
    for entry in source.reader().footer().unwrap() {
        let place = Place { pack: ID, offset: entry.offset };
        let len = record_len(entry.stored);
        let padding = len - (88 + entry.stored);
        for at in [0, 4, 20, 40, 87, 88, 88 + entry.stored / 2, len - padding - 1] {
            if at >= 88 + entry.stored {
                continue;
            }
            let at = place.byte_offset() + at;
            let byte = good[usize::try_from(at).unwrap()];
            overwrite(disk.as_ref(), PackState::Sealed, at, &[byte ^ 0x20]);
            let read = source.reader().stored_record(place, len);
            assert!(matches!(read, Err(Error::Damaged(_))), "{at} of {entry:?}");
            overwrite(disk.as_ref(), PackState::Sealed, at, &[byte]);
        }
        source.reader().stored_record(place, len).unwrap();
        for other in [len - 8, len + 8] {
            assert!(matches!(source.reader().stored_record(place, other), Err(Error::Damaged(_))));
        }
    }
}

#[test]
fn kind_is_what_the_header_says_and_mixed_if_that_is_bad() {
    use crate::blobs::format::PackKind;
    let disk = memory();
    let (source, _) = filled(&disk);
    assert_eq!(source.reader().kind().unwrap(), PackKind::Mixed);
    let writer = SingleWriter::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, OTHER, NOW).unwrap();
    let single = Arc::new(PackFile::open(disk.as_ref(), &KEYS, OTHER, PackState::Open).unwrap());
    assert_eq!(single.kind().unwrap(), PackKind::Single);
    drop(writer);
    disk.open(&OTHER.path(PackState::Open)).unwrap().write_at(&[9], 20).unwrap();
    assert_eq!(single.kind().unwrap(), PackKind::Mixed);
}
