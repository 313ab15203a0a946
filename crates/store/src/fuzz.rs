//! What reads bytes of a volume, for the targets in `fuzz/` and the tests: compiled for them alone.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::blobs::format::{FormatFile, PackId, PackState, Place, VolumeKeys};
use crate::blobs::pack::{OpenPack, PackFile, search_sealed};
use crate::disk::{Disk, MemoryDisk};
use crate::{Digest, Level, Result};

const KEYS: VolumeKeys = VolumeKeys { id: [1; 16], secret: [2; 16], salt: [3; 16] };
const ID: PackId = PackId::new(7);

/// A sealed pack, damaged as the bytes say: whatever is read of it is what its digest says, or nothing. Each change is of 5
/// bytes: three say where, one what, and one how often.
pub fn packs(data: &[u8]) {
    // The memory disk does what it is asked.
    let _ = damaged_pack(data);
    let _ = FormatFile::decode(data);
}

fn damaged_pack(data: &[u8]) -> Result<()> {
    let disk = Arc::new(MemoryDisk::default());
    for folder in [Path::new("packs"), &ID.folder()] {
        let _ = disk.create_folder(folder);
    }
    let blobs: Vec<_> = [0_u8, 1, 100, 255]
        .into_iter()
        .map(|length| Bytes::from(vec![length; usize::from(length) * 20]))
        .map(|content| (Digest::of(&content), content))
        .collect();
    let pack = OpenPack::create(Arc::clone(&disk) as Arc<dyn Disk>, &KEYS, ID, Level::ZERO)?;
    pack.append_many(&blobs, Level::ZERO)?;
    pack.sync()?;
    pack.seal()?;
    if let Ok(file) = disk.open(&ID.path(PackState::Sealed)) {
        let length = file.len().unwrap_or_default().max(1);
        for change in data.chunks_exact(5) {
            let [one, two, three, value, count] = *change else { continue };
            let offset = u64::from(u32::from_le_bytes([one, two, three, 0])) % length;
            let _ = file.write_at(&vec![value; usize::from(count) + 1], offset);
        }
    }
    let opened = Arc::new(PackFile::open(&*disk, &KEYS, ID, PackState::Sealed)?);
    let said = opened.footer().into_iter().chain(search_sealed(&*disk, &KEYS, ID).map(|found| found.entries));
    for entry in said.flatten() {
        let place = Place { pack: ID, offset: entry.offset };
        if let Ok(content) = opened.read_small(place, &entry.digest, entry.stored) {
            assert_eq!(Digest::of(&content), entry.digest);
        }
    }
    Ok(())
}

/// What lies in rows of the catalog and in its journal: what is read is written as it was.
pub fn rows(data: &[u8]) {
    crate::catalog::read_as_everything(data);
}

#[cfg(test)]
#[path = "../../../fuzz/inputs.rs"]
mod inputs;

#[cfg(test)]
mod tests {
    use super::inputs::try_many;
    use super::*;

    #[test]
    fn any_damage_of_a_pack_is_found_or_harmless() {
        try_many(&[b"\0\0\0\x01\x01", b"\x40\0\0\xff\x08\x80\x01\0\0\xff", b""], packs);
    }

    #[test]
    fn any_bytes_are_rows_or_refused() {
        try_many(&[&[0; 64], &[0xff; 64], b"\x01\0\0\0\x01", b"artifact:p/e/k\0\x01"], rows);
    }
}
