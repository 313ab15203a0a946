//! Opening a volume: new, cut short at any point, damaged, newer.

use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

use super::*;
use crate::Digest;
use crate::blobs::format::PackKind;
use crate::blobs::pack::OpenPack;
use crate::disk::{Effect, Fault, FaultyDisk, MemoryDisk};

const NOW: Level = Level::from_seconds(77);

fn file_bytes(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(Path::new(name)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn overwrite(disk: &dyn Disk, name: &str, offset: u64, bytes: &[u8]) {
    let file = disk.open(Path::new(name)).unwrap();
    file.write_at(bytes, offset).unwrap();
    file.sync().unwrap();
}

fn assert_complete(disk: &dyn Disk, keys: VolumeKeys) {
    for name in FORMAT_FILES {
        let known = FormatFile::decode(&file_bytes(disk, name));
        assert_eq!(known, VersionFound::Known(FormatFile { keys, created: NOW }));
    }
    assert_eq!(disk.list(Path::new(PACKS)).unwrap().len(), 256);
}

#[test]
fn new_volume_keeps_its_keys_and_no_two_have_the_same() {
    let disk = MemoryDisk::default();
    let made = Volume::open(&disk, NOW).unwrap();
    assert!(made.is_new && made.repaired.is_empty());
    assert_complete(&disk, made.keys);
    let again = Volume::open(&disk.crash(0), Level::from_seconds(99)).unwrap();
    assert_eq!((again.keys, again.created, again.is_new), (made.keys, NOW, false));
    let other = Volume::open(&MemoryDisk::default(), NOW).unwrap();
    assert_ne!(other.keys, made.keys);
    assert_ne!(made.keys.secret, made.keys.salt);
}

#[test]
fn power_cut_at_any_point_of_making_it_leaves_it_startable() {
    for nth in 1.. {
        let memory = Arc::new(MemoryDisk::default());
        let effect = if nth % 2 == 0 { Effect::Fail(Errno::IO) } else { Effect::CutShort(Errno::IO) };
        let fault = Fault { call: None, nth, effect, lasting: true };
        let faulty = FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault);
        let made = Volume::open(&faulty, NOW);
        for seed in 0..8 {
            let image = memory.crash(seed);
            let again = Volume::open(&image, NOW).unwrap();
            assert_complete(&image.crash(0), again.keys);
            if let Ok(made) = &made {
                assert_eq!(again.keys, made.keys, "what was opened well is durable");
            }
        }
        if !faulty.has_struck() {
            assert!(nth > 260 && made.is_ok());
            return;
        }
    }
}

#[test]
fn flipped_bit_in_either_format_file_changes_nothing() {
    let disk = MemoryDisk::default();
    let made = Volume::open(&disk, NOW).unwrap();
    for name in FORMAT_FILES {
        for offset in 0..FormatFile::LEN {
            let disk = disk.crash(0);
            let flipped = file_bytes(&disk, name)[offset] ^ 0x10;
            overwrite(&disk, name, offset as u64, &[flipped]);
            let again = Volume::open(&disk, NOW).unwrap();
            assert_eq!((again.keys, again.repaired.len()), (made.keys, 1), "byte {offset} of {name}");
            assert_complete(&disk, made.keys);
            assert!(disk.open(Path::new(&format!("{name}.damaged"))).is_ok());
        }
    }
}

#[test]
fn format_file_that_is_gone_or_empty_comes_from_the_other() {
    for name in FORMAT_FILES {
        let disk = MemoryDisk::default();
        let made = Volume::open(&disk, NOW).unwrap();
        disk.remove(Path::new(name)).unwrap();
        assert_eq!(Volume::open(&disk, NOW).unwrap().keys, made.keys);
        disk.remove(Path::new(name)).unwrap();
        disk.create(Path::new(name)).unwrap();
        assert_eq!(Volume::open(&disk, NOW).unwrap().keys, made.keys);
        assert_complete(&disk, made.keys);
    }
}

#[test]
fn keys_come_from_a_pack_when_both_format_files_are_bad() {
    for seal in [false, true] {
        let disk = Arc::new(MemoryDisk::default());
        let made = Volume::open(disk.as_ref(), NOW).unwrap();
        let id = PackId::new(0x1234);
        let pack = OpenPack::create(Arc::clone(&disk) as Arc<dyn Disk>, &made.keys, id, NOW).unwrap();
        pack.append(&Digest::of(b"blob"), &Bytes::from_static(b"blob"), NOW).unwrap();
        let state = if seal { PackState::Sealed } else { PackState::Open };
        if seal {
            pack.seal().unwrap();
            // Its trailer has them as well.
            overwrite(disk.as_ref(), id.path(state).to_str().unwrap(), 20, &[0xee; 4]);
        }
        for name in FORMAT_FILES {
            overwrite(disk.as_ref(), name, 20, &[0xee; 4]);
        }
        let again = Volume::open(disk.as_ref(), NOW).unwrap();
        assert_eq!((again.keys, again.is_new, again.repaired.len()), (made.keys, false, 3));
        assert_complete(disk.as_ref(), made.keys);
    }
}

/// A format file of a later release: more fields, and a checksum at the end of them.
fn newer_format(version: u32) -> Vec<u8> {
    let mut bytes = FormatFile { keys: draw_keys().unwrap(), created: NOW }.encode();
    bytes.truncate(FormatFile::LEN - 8);
    bytes.extend_from_slice(&[7; 24]);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let len = bytes.len() as u32 + 8;
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    let checksum = twox_hash::XxHash3_64::oneshot(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn newer_format_is_refused_and_left_alone_and_a_damaged_one_is_not_newer() {
    for name in FORMAT_FILES {
        let disk = MemoryDisk::default();
        let made = Volume::open(&disk, NOW).unwrap();
        overwrite(&disk, name, 0, &newer_format(2));
        let error = Volume::open(&disk, NOW).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 2, known: 1 }), "{error}");
        assert_eq!(FormatFile::decode(&file_bytes(&disk, name)), VersionFound::Newer(2));
        overwrite(&disk, name, 30, &[0xee]);
        assert_eq!(Volume::open(&disk, NOW).unwrap().keys, made.keys);
    }
}

#[test]
fn full_disk_opens_a_volume_and_cannot_make_one() {
    let disk = MemoryDisk::default();
    let made = Volume::open(&disk, NOW).unwrap();
    disk.set_capacity(0);
    assert_eq!(Volume::open(&disk, NOW).unwrap().keys, made.keys);
    let error = Volume::open(&MemoryDisk::with_capacity(0), NOW).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
}

#[test]
fn pack_under_another_packs_name_lends_no_keys() {
    let disk = MemoryDisk::default();
    Volume::open(&disk, NOW).unwrap();
    let keys = draw_keys().unwrap();
    let header = PackHeader { kind: PackKind::Mixed, id: PackId::new(3), keys, created: NOW };
    let file = disk.create(&PackId::new(4).path(PackState::Sealed)).unwrap();
    file.write_at(&header.encode(), 0).unwrap();
    assert_eq!(keys_from_packs(&disk).unwrap(), None);
}
