//! What was written reads back the same, from open and sealed packs, whole and in parts.

use std::task::Poll;

use proptest::prelude::*;

use super::*;
use crate::Error;
use crate::blobs::format::{Encoding, FRAME_SIZE, PackHeader, RecordHeader, record_len};

const FRAME: usize = FRAME_SIZE as usize;

#[test]
fn appended_blobs_read_back_before_and_after_sealing() {
    let disk = memory();
    let pack = open_pack(&disk);
    let blobs = [blob(1, 0), blob(2, 1), blob(3, 7), blob(4, 5000), blob(5, FRAME), blob(6, FRAME + 1)];
    let appended = append(&pack, &blobs);
    let reader = pack.reader();
    for ((digest, content), appended) in blobs.iter().zip(&appended) {
        assert_eq!(reader.read_small(appended.place, digest, appended.stored).unwrap(), content);
        assert_eq!(reader.read_small(appended.place, digest, 0).unwrap(), content, "length unknown");
        assert_eq!(appended.end, appended.place.byte_offset() + record_len(appended.stored));
    }
    assert_eq!(pack.appended(), appended[5].end);
    pack.seal().unwrap();
    let sealed = Arc::new(PackFile::open(disk.as_ref(), &KEYS, ID, PackState::Sealed).unwrap());
    let footer = sealed.footer().unwrap();
    assert_eq!(digests(&footer), blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>());
    for (((digest, content), appended), entry) in blobs.iter().zip(&appended).zip(&footer) {
        assert_eq!((entry.offset, entry.stored), (appended.place.offset, appended.stored));
        assert_eq!(reader.read_small(appended.place, digest, appended.stored).unwrap(), content);
        assert_eq!(sealed.read_small(appended.place, digest, appended.stored).unwrap(), content);
    }
}

#[test]
fn small_blob_reads_without_waiting_when_it_can_be_had() {
    let disk = memory();
    let pack = open_pack(&disk);
    let (digest, content) = blob(1, 100);
    let appended = pack.append(&digest, &content, NOW).unwrap();
    assert_eq!(pack.reader().try_read_small(appended.place, &digest, 100), Poll::Ready(content));
    assert_eq!(pack.reader().try_read_small(appended.place, &digest, 90), Poll::Pending);
    let other = blob(2, 100).0;
    assert_eq!(pack.reader().try_read_small(appended.place, &other, 100), Poll::Pending);
}

#[test]
fn other_blob_at_the_place_is_damage() {
    let disk = memory();
    let pack = open_pack(&disk);
    let (digest, content) = blob(1, 100);
    let place = pack.append(&digest, &content, NOW).unwrap().place;
    let wrong_size = Digest::from_parts(digest.function(), *digest.hash(), 101).unwrap();
    for other in [blob(2, 100).0, wrong_size] {
        let error = pack.reader().read_small(place, &other, 100).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
        assert!(matches!(pack.reader().frames(place, &other, 0..9), Err(Error::Damaged(_))));
    }
}

#[test]
fn compressed_blobs_read_back_and_take_less() {
    let disk = memory();
    let pack = open_pack(&disk);
    let text: Vec<u8> = (0..400_000_u32).flat_map(|number| (number / 5).to_le_bytes()).collect();
    let blobs = [named(text), blob(1, 3000)];
    let appended = pack.append_batch(&blobs, NOW, Encoding::Zstd).unwrap();
    assert!(appended[0].stored < blobs[0].0.size() / 4);
    assert_eq!(appended[1].stored, 3000, "what does not compress is raw");
    pack.seal().unwrap();
    let sealed = Arc::new(PackFile::open(disk.as_ref(), &KEYS, ID, PackState::Sealed).unwrap());
    let encodings: Vec<_> = sealed.footer().unwrap().iter().map(|entry| entry.encoding).collect();
    assert_eq!(encodings, [Encoding::Zstd, Encoding::Raw]);
    for ((digest, content), appended) in blobs.iter().zip(appended) {
        assert_eq!(sealed.read_small(appended.place, digest, appended.stored).unwrap(), content);
    }
}

#[test]
fn single_reads_back_while_unfinished_bytes_are_no_record() {
    let disk = memory();
    let (digest, content) = blob(1, 2 * FRAME + 12_345);
    let mut writer = SingleWriter::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, ID, NOW).unwrap();
    for piece in content.chunks(300_001) {
        writer.write(&[content.slice_ref(piece)]).unwrap();
    }
    assert!(search_open_copy(&disk).is_empty());
    let single = writer.finish(&digest).unwrap();
    let appended = single.appended();
    assert_eq!(appended.place.byte_offset(), PackHeader::LEN as u64);
    assert_eq!(single.reader().read_small(appended.place, &digest, appended.stored).unwrap(), content);
    assert!(!single.is_committed());
    single.commit().unwrap();
    single.commit().unwrap();
    assert!(single.is_committed());
    let sealed = Arc::new(PackFile::open(disk.as_ref(), &KEYS, ID, PackState::Sealed).unwrap());
    let footer = sealed.footer().unwrap();
    assert_eq!((footer.len(), footer[0].digest, footer[0].stored), (1, digest, appended.stored));
    assert_eq!(read(disk.as_ref(), &footer[0], PackState::Sealed).unwrap(), content);
}

/// What a search would find if the process ended now.
fn search_open_copy(disk: &MemoryDisk) -> Vec<FooterEntry> {
    search_and_seal(&disk.crash(1), &KEYS, ID).unwrap().entries
}

#[test]
fn single_of_another_length_than_its_digest_is_refused_and_removed() {
    let disk = memory();
    let mut writer = SingleWriter::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, ID, NOW).unwrap();
    writer.write(&[Bytes::from_static(b"abc")]).unwrap();
    assert!(matches!(writer.finish(&blob(1, 4).0), Err(Error::Mismatch(_))));
    assert!(disk.list(&ID.folder()).unwrap().is_empty());
}

#[test]
fn pack_takes_nothing_once_sealed() {
    let disk = memory();
    let pack = open_pack(&disk);
    append(&pack, &[blob(1, 10)]);
    pack.seal().unwrap();
    assert!(matches!(pack.append_many(&[blob(2, 10)], NOW), Err(Error::Poisoned(_))));
    assert!(matches!(pack.seal(), Err(Error::Poisoned(_))));
    assert!(!pack.is_given_up());
}

#[test]
fn open_says_missing_for_the_name_a_pack_no_longer_has() {
    let disk = memory();
    let pack = open_pack(&disk);
    pack.seal().unwrap();
    let open = |state| PackFile::open(disk.as_ref(), &KEYS, ID, state);
    assert!(matches!(open(PackState::Open), Err(Error::Missing)));
    assert_eq!(open(PackState::Sealed).unwrap().footer().unwrap(), []);
}

#[test]
fn footer_of_many_blocks_reads_back() {
    let disk = memory();
    let pack = open_pack(&disk);
    let blobs: Vec<_> = (0..2500).map(|seed| blob(seed, 3)).collect();
    append(&pack, &blobs);
    pack.seal().unwrap();
    let sealed = PackFile::open(disk.as_ref(), &KEYS, ID, PackState::Sealed).unwrap();
    assert_eq!(
        digests(&sealed.footer().unwrap()),
        blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>()
    );
}

#[test]
fn unsynced_appends_are_told_from_synced_ones() {
    let disk = memory();
    let pack = open_pack(&disk);
    let first = append(&pack, &[blob(1, 10)])[0];
    assert_eq!(pack.sync().unwrap(), first.end);
    let second = append(&pack, &[blob(2, 10)])[0];
    assert_eq!((pack.synced(), pack.appended()), (first.end, second.end));
    assert_eq!(pack.sync().unwrap(), second.end);
    assert!(pack.is_full(second.end) && !pack.is_full(second.end + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_of_a_blob_reads_as_that_range(
        len in 0_u64..3 * FRAME_SIZE + 9,
        start in 0_u64..3 * FRAME_SIZE + 20,
        wanted in 0_u64..2 * FRAME_SIZE,
        zstd: bool,
    ) {
        let disk = memory();
        let pack = open_pack(&disk);
        let content: Vec<u8> = (0..len).map(|position| (position / 1000) as u8).collect();
        let (digest, content) = named(content);
        let encoding = if zstd { Encoding::Zstd } else { Encoding::Raw };
        let place = pack.append_batch(&[(digest, content.clone())], NOW, encoding).unwrap()[0].place;
        let mut reader = pack.reader().frames(place, &digest, start..start + wanted).unwrap();
        let mut again = pack.reader().frames(place, &digest, start..start + wanted).unwrap();
        let mut read = Vec::new();
        while let Some(piece) = reader.next().unwrap() {
            prop_assert!(piece.len() <= FRAME && !piece.is_empty());
            prop_assert_eq!(again.try_next(), Poll::Ready(Some(piece.clone())));
            read.extend_from_slice(&piece);
        }
        prop_assert_eq!(again.try_next(), Poll::Ready(None));
        let end = (start + wanted).min(len) as usize;
        prop_assert!(read == content[(start as usize).min(end)..end]);
    }

    #[test]
    fn batches_of_any_sizes_read_back(sizes in prop::collection::vec(0_usize..3000, 1..40), batch in 1_usize..9) {
        let disk = memory();
        let pack = open_pack(&disk);
        let blobs: Vec<_> = (0..).zip(sizes).map(|(seed, len)| blob(seed, len)).collect();
        let mut places = Vec::new();
        for batch in blobs.chunks(batch) {
            places.extend(append(&pack, batch));
        }
        pack.sync().unwrap();
        let sealed = search_and_seal(&disk.crash(0), &KEYS, ID).unwrap();
        prop_assert_eq!(sealed.lost, 0);
        prop_assert_eq!(digests(&sealed.entries), blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>());
        for ((digest, content), appended) in blobs.iter().zip(&places) {
            let got = pack.reader().read_small(appended.place, digest, appended.stored).unwrap();
            prop_assert_eq!(&got, content);
            prop_assert!(appended.place.byte_offset() % 8 == 0);
            prop_assert!(appended.stored + RecordHeader::LEN as u64 <= appended.end);
        }
    }
}
