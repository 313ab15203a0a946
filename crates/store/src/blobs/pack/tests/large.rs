//! What does not fit 32 bits, and the same on a real file system.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use super::*;
use crate::DigestFunction;
use crate::blobs::format::FRAME_SIZE;
use crate::blobs::volume::Volume;
use crate::disk::{DiskFile, DiskSpace, Entry, RealDisk};

const PAGE: usize = FRAME_SIZE as usize;

/// One file that keeps only what is not zero, so that a large blob of zeros fits in memory.
#[derive(Clone, Debug, Default)]
struct Sparse(Arc<Mutex<SparseContent>>);

#[derive(Debug, Default)]
struct SparseContent {
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

/// The pieces of a range that lie in one page each: page, where in it, where in the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + done as u64;
        let start = (position % FRAME_SIZE) as usize;
        let piece = (PAGE - start).min(len - done);
        done += piece;
        (piece > 0).then_some((position / FRAME_SIZE, start..start + piece, done - piece))
    })
}

impl DiskFile for Sparse {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.0.lock().unwrap();
        let len = buffer.len().min(usize::try_from(content.len.saturating_sub(offset)).unwrap());
        for (page, within, at) in pieces(offset, len) {
            let part = &mut buffer[at..at + within.len()];
            match content.pages.get(&page) {
                Some(page) => part.copy_from_slice(&page[within]),
                None => part.fill(0),
            }
        }
        Ok(len)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        content.len = content.len.max(offset + bytes.len() as u64);
        for (page, within, at) in pieces(offset, bytes.len()) {
            let part = &bytes[at..at + within.len()];
            if content.pages.contains_key(&page) || part != &ZEROS[..part.len()] {
                content.pages.entry(page).or_insert_with(|| vec![0; PAGE])[within].copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len)
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok((self.0.lock().unwrap().pages.len() * PAGE) as u64)
    }

    fn drop_cache(&self) {}
}

impl Disk for Sparse {
    fn create(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.clone()))
    }

    fn open(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.clone()))
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        Ok(DiskSpace { total: u64::MAX, available: u64::MAX })
    }
}

static ZEROS: [u8; PAGE] = [0; PAGE];

#[test]
fn blob_above_four_gib_reads_back_at_its_end_and_is_found_by_a_search() {
    let size = (4 << 30) + 2 * FRAME_SIZE + 7;
    let digest = Digest::from_parts(DigestFunction::Sha256, [5; 32], size).unwrap();
    let disk = Sparse::default();
    let mut writer = SingleWriter::create(Arc::new(disk.clone()), &KEYS, ID, NOW).unwrap();
    for _ in 0..size / FRAME_SIZE {
        writer.write(&[Bytes::from_static(&ZEROS)]).unwrap();
    }
    writer.write(&[Bytes::from_static(b"the end")]).unwrap();
    let single = writer.finish(&digest).unwrap();
    single.commit().unwrap();
    let pack = Arc::new(PackFile::open(&disk, &KEYS, ID, PackState::Sealed).unwrap());
    let footer = pack.footer().unwrap();
    let place = single.appended().place;
    assert_eq!((footer.len(), footer[0].digest, footer[0].offset), (1, digest, place.offset));
    let mut reader = pack.frames(place, &digest, size - FRAME_SIZE..size).unwrap();
    assert_eq!(reader.next().unwrap().unwrap(), &ZEROS[..PAGE - 7]);
    assert_eq!(reader.next().unwrap().unwrap(), "the end");
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(search_sealed(&disk, &KEYS, ID).unwrap().entries, footer);
}

#[test]
fn packs_on_a_real_file_system_read_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder.path()).unwrap());
    let keys = Volume::open(disk.as_ref(), NOW).unwrap().keys;
    let blobs: Vec<_> = (0..50).map(|seed| blob(seed, 3000)).collect();
    let sealed = OpenPack::create(Arc::clone(&disk), &keys, ID, NOW).unwrap();
    sealed.append_many(&blobs, NOW).unwrap();
    sealed.seal().unwrap();
    let left_open = OpenPack::create(Arc::clone(&disk), &keys, PackId::new(9), NOW).unwrap();
    left_open.append_many(&blobs, NOW).unwrap();
    let (digest, content) = blob(99, 3 * PAGE + 1);
    let mut writer = SingleWriter::create(Arc::clone(&disk), &keys, PackId::new(10), NOW).unwrap();
    writer.write(&[content]).unwrap();
    let single = writer.finish(&digest).unwrap();
    single.commit().unwrap();
    drop((sealed, left_open, single, disk));

    let disk = RealDisk::open(folder.path()).unwrap();
    assert_eq!(Volume::open(&disk, NOW).unwrap().keys, keys);
    assert_eq!(search_and_seal(&disk, &keys, PackId::new(9)).unwrap().entries.len(), 50);
    for (id, count) in [(ID, 50), (PackId::new(9), 50), (PackId::new(10), 1)] {
        let pack = Arc::new(PackFile::open(&disk, &keys, id, PackState::Sealed).unwrap());
        let footer = pack.footer().unwrap();
        assert_eq!(footer.len(), count);
        for entry in footer {
            let place = Place { pack: id, offset: entry.offset };
            let content = pack.read_small(place, &entry.digest, entry.stored).unwrap();
            assert_eq!(Digest::of(&content), entry.digest);
        }
        assert!(pack.allocated().unwrap() > 0);
    }
}
