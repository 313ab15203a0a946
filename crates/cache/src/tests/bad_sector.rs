//! A disk with a range of one file that the device cannot read.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_store::disk::{Disk, DiskFile, DiskSpace, Entry, RealDisk};
use rustix::io::Errno;

#[derive(Debug)]
pub(super) struct BadSector {
    below: RealDisk,
    path: PathBuf,
    bad: Range<u64>,
}

#[derive(Debug)]
struct BadFile(Arc<dyn DiskFile>, Range<u64>);

impl BadSector {
    pub(super) fn on(data: &Path, path: PathBuf, bad: Range<u64>) -> Arc<dyn Disk> {
        Arc::new(Self { below: RealDisk::open(data).unwrap(), path, bad })
    }
}

impl Disk for BadSector {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.below.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.below.open(path)?;
        // A pack that is sealed keeps its sectors under its new name.
        let is_it = path.with_extension("") == self.path.with_extension("");
        Ok(if is_it { Arc::new(BadFile(file, self.bad.clone())) } else { file })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.below.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.below.create_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.below.sync_folder(folder)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.below.space()
    }
}

impl BadFile {
    fn check(&self, len: usize, offset: u64) -> io::Result<()> {
        let meets = offset < self.1.end && self.1.start < offset + len as u64;
        if meets { Err(Errno::IO.into()) } else { Ok(()) }
    }
}

impl DiskFile for BadFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(buffer.len(), offset)?;
        self.0.read_at(buffer, offset)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(buffer.len(), offset)?;
        self.0.try_read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.0.allocated()
    }

    fn drop_cache(&self) {
        self.0.drop_cache();
    }
}
