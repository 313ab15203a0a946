//! Flipped bits, torn tails and unreadable sectors: never wrong bytes, and nothing lost but what was hit.

use super::*;
use crate::Error;
use crate::blobs::format::{PackHeader, RecordHeader, Trailer, record_len};
use crate::blobs::pack::search::search;
use crate::disk::{Call, Effect, Fault, FaultyDisk};
use rustix::io::Errno;

fn three() -> [(Digest, Bytes); 3] {
    [blob(1, 40), blob(2, 0), named(vec![7; 100])]
}

/// A small pack of three records, and where each lies in it.
fn small_pack(state: PackState) -> (Arc<MemoryDisk>, Vec<Appended>) {
    let disk = memory();
    let pack = open_pack(&disk);
    let appended = append(&pack, &three());
    match state {
        PackState::Open => {
            pack.sync().unwrap();
        }
        PackState::Sealed => pack.seal().unwrap(),
    }
    (disk, appended)
}

/// Bytes of a record that mean something: its padding does not.
fn meaning(appended: &Appended) -> std::ops::Range<u64> {
    let start = appended.place.byte_offset();
    start..start + RecordHeader::LEN as u64 + appended.stored
}

#[test]
fn flipped_bit_in_a_sealed_pack_is_never_served() {
    let (disk, appended) = small_pack(PackState::Sealed);
    let bytes = file_bytes(disk.as_ref(), PackState::Sealed);
    for (offset, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            let disk = disk.crash(0);
            overwrite(&disk, PackState::Sealed, offset as u64, &[byte ^ (1 << bit)]);
            let pack = Arc::new(PackFile::open(&disk, &KEYS, ID, PackState::Sealed).unwrap());
            for ((digest, content), appended) in three().iter().zip(&appended) {
                let read = pack.read_small(appended.place, digest, appended.stored);
                if meaning(appended).contains(&(offset as u64)) {
                    assert!(matches!(read, Err(Error::Damaged(_))), "bit {bit} of byte {offset}: {read:?}");
                } else {
                    assert_eq!(read.unwrap(), content);
                }
            }
            match pack.footer() {
                Ok(entries) => assert_eq!(digests(&entries), three().map(|(digest, _)| digest)),
                Err(Error::Damaged(_)) => {
                    let found = search_sealed(&disk, &KEYS, ID).unwrap();
                    assert_eq!(digests(&found.entries), three().map(|(digest, _)| digest));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn flipped_bit_in_an_open_pack_costs_its_record_only() {
    let (disk, appended) = small_pack(PackState::Open);
    let bytes = file_bytes(disk.as_ref(), PackState::Open);
    for (offset, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            let disk = disk.crash(0);
            overwrite(&disk, PackState::Open, offset as u64, &[byte ^ (1 << bit)]);
            let sealed = search_and_seal(&disk, &KEYS, ID).unwrap();
            let expected: Vec<_> = three()
                .iter()
                .zip(&appended)
                .filter(|(_, appended)| !meaning(appended).contains(&(offset as u64)))
                .map(|((digest, _), _)| *digest)
                .collect();
            assert_eq!(digests(&sealed.entries), expected, "bit {bit} of byte {offset}");
            let last_is_hit = meaning(&appended[2]).contains(&(offset as u64));
            assert_eq!(sealed.lost, u64::from(expected.len() < 3 && !last_is_hit));
            assert_readable(&disk, &sealed.entries);
            let pack = PackFile::open(&disk, &KEYS, ID, PackState::Sealed).unwrap();
            assert_eq!(pack.footer().unwrap(), sealed.entries);
            assert_eq!(pack.len().unwrap(), sealed.len);
        }
    }
}

#[test]
fn tail_torn_at_any_byte_costs_what_it_cuts() {
    let (disk, appended) = small_pack(PackState::Open);
    let bytes = file_bytes(disk.as_ref(), PackState::Open);
    for len in 0..bytes.len() {
        let disk = memory();
        let file = disk.create(&ID.path(PackState::Open)).unwrap();
        file.write_at(&bytes[..len], 0).unwrap();
        let sealed = search_and_seal(disk.as_ref(), &KEYS, ID).unwrap();
        let whole = appended.iter().filter(|appended| meaning(appended).end <= len as u64).count();
        assert_eq!(sealed.entries.len(), whole, "cut at {len}");
        assert_readable(disk.as_ref(), &sealed.entries);
        assert_eq!(disk.list(&ID.folder()).unwrap().is_empty(), whole == 0);
    }
}

#[test]
fn overwritten_stretch_in_the_middle_hides_nothing_behind_it() {
    let disk = memory();
    let pack = open_pack(&disk);
    let blobs: Vec<_> = (0..200).map(|seed| blob(seed, 1000 + seed as usize)).collect();
    let appended = append(&pack, &blobs);
    pack.sync().unwrap();
    let (from, to) = (appended[50].place.byte_offset() + 13, appended[52].place.byte_offset() + 99);
    overwrite(disk.as_ref(), PackState::Open, from, &vec![0x5a; (to - from) as usize]);
    let sealed = search_and_seal(disk.as_ref(), &KEYS, ID).unwrap();
    assert_eq!((sealed.entries.len(), sealed.lost), (197, 3));
    assert_readable(disk.as_ref(), &sealed.entries);
}

#[test]
fn sector_that_cannot_be_read_costs_the_records_in_it() {
    let disk = memory();
    let pack = open_pack(&disk);
    append(&pack, &(0..50).map(|seed| blob(seed, 1000)).collect::<Vec<_>>());
    pack.sync().unwrap();
    let bad =
        BadSector { inner: disk.open(&ID.path(PackState::Open)).unwrap(), from: 3 * 4096, to: 4 * 4096 };
    let found = search(&bad, &KEYS, ID).unwrap();
    let hit = |entry: &FooterEntry| {
        let start = u64::from(entry.offset) * 8;
        start < 4 * 4096 && start + record_len(entry.stored) > 3 * 4096
    };
    assert!(!found.entries.iter().any(hit));
    assert_eq!(found.entries.len() as u64 + found.lost, 50);
    assert_eq!(found.lost, 4);
}

#[test]
fn misread_once_is_read_again() {
    let (disk, appended) = small_pack(PackState::Sealed);
    let (digest, content) = &three()[0];
    for effect in [Effect::FlipBit(700), Effect::Fail(Errno::IO), Effect::CutShort(Errno::IO)] {
        let fault = Fault { call: Some(Call::Read), nth: 1, effect, lasting: false };
        let faulty = FaultyDisk::new(Arc::clone(&disk) as Arc<dyn Disk>, fault);
        let pack = Arc::new(PackFile::open(&faulty, &KEYS, ID, PackState::Sealed).unwrap());
        assert_eq!(pack.read_small(appended[0].place, digest, 40).unwrap(), content);
        assert!(faulty.has_struck());
    }
}

#[test]
fn device_error_that_stays_is_damage_and_another_error_is_not() {
    let (disk, appended) = small_pack(PackState::Sealed);
    let (digest, _) = &three()[0];
    for (errno, lasting, damage) in [(Errno::IO, true, true), (Errno::NOMEM, false, false)] {
        let fault = Fault { call: Some(Call::Read), nth: 1, effect: Effect::Fail(errno), lasting };
        let faulty = FaultyDisk::new(Arc::clone(&disk) as Arc<dyn Disk>, fault);
        let pack = Arc::new(PackFile::open(&faulty, &KEYS, ID, PackState::Sealed).unwrap());
        let error = pack.read_small(appended[0].place, digest, 40).unwrap_err();
        assert_eq!(matches!(error, Error::Damaged(_)), damage, "{error}");
        assert_eq!(matches!(error, Error::Io { .. }), !damage, "{error}");
    }
}

#[test]
fn trailer_of_another_volume_is_damage() {
    let (disk, _) = small_pack(PackState::Sealed);
    let other = VolumeKeys { id: [9; 16], ..KEYS };
    let pack = PackFile::open(disk.as_ref(), &other, ID, PackState::Sealed).unwrap();
    assert!(matches!(pack.footer(), Err(Error::Damaged(_))));
    assert!(matches!(search_sealed(disk.as_ref(), &other, ID), Err(Error::Damaged(_))));
}

#[test]
fn file_shorter_than_a_header_or_a_trailer_is_no_pack() {
    for len in [0, 1, PackHeader::LEN - 1, Trailer::LEN] {
        let disk = memory();
        disk.create(&ID.path(PackState::Sealed)).unwrap().write_at(&vec![0; len], 0).unwrap();
        let pack = PackFile::open(disk.as_ref(), &KEYS, ID, PackState::Sealed).unwrap();
        assert!(matches!(pack.footer(), Err(Error::Damaged(_))));
        assert!(search_sealed(disk.as_ref(), &KEYS, ID).unwrap().entries.is_empty());
    }
}

/// A file of which one stretch cannot be read.
#[derive(Debug)]
struct BadSector {
    inner: Arc<dyn crate::disk::DiskFile>,
    from: u64,
    to: u64,
}

impl crate::disk::DiskFile for BadSector {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if offset < self.to && offset + buffer.len() as u64 > self.from {
            return Err(Errno::IO.into());
        }
        self.inner.read_at(buffer, offset)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.inner.sync()
    }

    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn allocated(&self) -> std::io::Result<u64> {
        self.inner.allocated()
    }

    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
}
