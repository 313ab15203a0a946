//! Packs over the memory disk: written, read back, sealed, searched.

mod copies;
mod damage;
mod faults;
mod forged;
mod large;
mod power_cut;
mod roundtrip;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::blobs::format::{FooterEntry, PackId, PackState, VolumeKeys, pack_folder};
use crate::disk::{Disk, MemoryDisk};
use crate::random::Random;
use crate::{Digest, Level, Result};

pub(super) const KEYS: VolumeKeys = VolumeKeys { id: [1; 16], secret: [2; 16], salt: [3; 16] };
pub(super) const ID: PackId = PackId::new(0x0000_0207);
pub(super) const NOW: Level = Level::from_seconds(1000);

/// A volume with the folder of [`ID`].
pub(super) fn memory() -> Arc<MemoryDisk> {
    let disk = MemoryDisk::default();
    disk.create_folder(Path::new("packs")).unwrap();
    disk.create_folder(&ID.folder()).unwrap();
    disk.sync_folder(Path::new("")).unwrap();
    disk.sync_folder(Path::new("packs")).unwrap();
    Arc::new(disk)
}

pub(super) fn open_pack(disk: &Arc<MemoryDisk>) -> OpenPack {
    OpenPack::create(Arc::clone(disk) as Arc<dyn Disk>, &KEYS, ID, NOW).unwrap()
}

/// A blob of chance bytes, which do not compress.
pub(super) fn blob(seed: u64, len: usize) -> (Digest, Bytes) {
    named(Random::new(seed).bytes(len))
}

pub(super) fn named(content: Vec<u8>) -> (Digest, Bytes) {
    (Digest::of(&content), Bytes::from(content))
}

pub(super) fn append(pack: &OpenPack, blobs: &[(Digest, Bytes)]) -> Vec<Appended> {
    pack.append_many(blobs, NOW).unwrap()
}

/// Reads one blob where a footer says it is.
pub(super) fn read(disk: &dyn Disk, entry: &FooterEntry, state: PackState) -> Result<Bytes> {
    let pack = Arc::new(PackFile::open(disk, &KEYS, ID, state)?);
    pack.read_small(Place { pack: ID, offset: entry.offset }, &entry.digest, entry.stored)
}

/// Overwrites bytes behind everybody's back, durably.
pub(super) fn overwrite(disk: &dyn Disk, state: PackState, offset: u64, bytes: &[u8]) {
    let file = disk.open(&ID.path(state)).unwrap();
    file.write_at(bytes, offset).unwrap();
    file.sync().unwrap();
}

pub(super) fn file_bytes(disk: &dyn Disk, state: PackState) -> Vec<u8> {
    let file = disk.open(&ID.path(state)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// The entries hold right content, all of it.
pub(super) fn assert_readable(disk: &dyn Disk, entries: &[FooterEntry]) {
    for entry in entries {
        let content = read(disk, entry, PackState::Sealed).unwrap();
        assert_eq!(Digest::of(&content), entry.digest);
    }
}

pub(super) fn digests(entries: &[FooterEntry]) -> Vec<Digest> {
    entries.iter().map(|entry| entry.digest).collect()
}

#[test]
fn folder_of_a_pack_is_its_low_byte() {
    assert_eq!(ID.folder(), pack_folder(0x07));
    assert_eq!(ID.path(PackState::Sealed), Path::new("packs/07/00000207.pack"));
}
