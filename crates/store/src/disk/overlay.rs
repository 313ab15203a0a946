//! Stands before another disk and keeps every change in memory: what a start would do can be done without doing it.
//!
//! **Invariant:** the disk below is read and never changed.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, DiskSpace, Entry};

/// A disk whose changes end with it.
#[derive(Debug)]
pub struct OverlayDisk {
    below: Arc<dyn Disk>,
    /// What was made, changed or renamed, and `None` for what was removed.
    changed: Arc<Mutex<HashMap<PathBuf, Option<Arc<Node>>>>>,
}

/// A file that may have been changed.
#[derive(Debug)]
struct Node {
    below: Option<Arc<dyn DiskFile>>,
    writes: Mutex<Writes>,
}

/// What was written, in order, and the length with it.
#[derive(Debug)]
struct Writes {
    len: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

/// An open file of it.
#[derive(Debug)]
struct OverlayFile {
    path: PathBuf,
    node: Arc<Node>,
    changed: Arc<Mutex<HashMap<PathBuf, Option<Arc<Node>>>>>,
}

impl OverlayDisk {
    /// Nothing is changed yet.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, changed: Arc::default() }
    }

    fn find(&self, path: &Path) -> io::Result<Arc<Node>> {
        match lock(&self.changed).get(path) {
            Some(Some(node)) => return Ok(Arc::clone(node)),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let below = self.below.open(path)?;
        let writes = Mutex::new(Writes { len: below.len()?, pieces: Vec::new() });
        Ok(Arc::new(Node { below: Some(below), writes }))
    }

    fn file(&self, path: &Path, node: Arc<Node>) -> Arc<dyn DiskFile> {
        Arc::new(OverlayFile { path: path.to_owned(), node, changed: Arc::clone(&self.changed) })
    }

    fn must_be_free(&self, path: &Path) -> io::Result<()> {
        let taken = match lock(&self.changed).get(path) {
            Some(found) => found.is_some(),
            None => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let folder = path.parent().unwrap_or(Path::new(""));
                let entries = self.below.list(folder).unwrap_or_default();
                entries.iter().any(|entry| Some(&entry.name) == name.as_ref())
            }
        };
        if taken { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for OverlayDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.must_be_free(path)?;
        let node = Arc::new(Node { below: None, writes: Mutex::new(Writes { len: 0, pieces: Vec::new() }) });
        lock(&self.changed).insert(path.to_owned(), Some(Arc::clone(&node)));
        Ok(self.file(path, node))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.find(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        // A folder that was made here has nothing below.
        let mut entries = match self.below.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        for (path, node) in lock(&self.changed).iter().filter(|(path, _)| path.parent() == Some(folder)) {
            let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
                continue;
            };
            entries.retain(|entry| entry.name != name);
            if let Some(node) = node {
                let len = lock(&node.writes).len;
                entries.push(Entry { name, len, allocated: len });
            }
        }
        Ok(entries)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.must_be_free(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let mut changed = lock(&self.changed);
        changed.insert(from.to_owned(), None);
        changed.insert(to.to_owned(), Some(node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        lock(&self.changed).insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.below.space()
    }
}

impl Node {
    /// Reads what lies below, and over it what was written.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let writes = lock(&self.writes);
        if let (Some(below), true) = (&self.below, writes.pieces.is_empty()) {
            return below.read_at(buffer, offset);
        }
        let len = usize::try_from(writes.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let Some(wanted) = buffer.get_mut(..len) else { return Ok(0) };
        let read = self.below.as_ref().map_or(Ok(0), |below| below.read_at(wanted, offset))?;
        wanted.iter_mut().skip(read).for_each(|byte| *byte = 0);
        for (start, piece) in &writes.pieces {
            let skip = usize::try_from(offset.saturating_sub(*start)).unwrap_or(usize::MAX);
            let at = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
            if let (Some(from), Some(to)) = (piece.get(skip..), wanted.get_mut(at..)) {
                from.iter().zip(to).for_each(|(from, to)| *to = *from);
            }
        }
        Ok(len)
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.node.read_at(buffer, offset)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.node.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut writes = lock(&self.node.writes);
        writes.len = writes.len.max(offset.saturating_add(bytes.len() as u64));
        writes.pieces.push((offset, bytes.to_vec()));
        drop(writes);
        lock(&self.changed).entry(self.path.clone()).or_insert_with(|| Some(Arc::clone(&self.node)));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.node.writes).len)
    }

    fn allocated(&self) -> io::Result<u64> {
        self.node.below.as_ref().map_or_else(|| self.len(), |below| below.allocated())
    }

    fn drop_cache(&self) {
        if let Some(below) = &self.node.below {
            below.drop_cache();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDisk;
    use super::*;

    fn content(disk: &dyn Disk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(Path::new(path)).ok()?;
        let mut bytes = vec![0; 100];
        let len = file.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(len);
        assert_eq!(file.len().unwrap(), len as u64);
        Some(bytes)
    }

    fn names(disk: &dyn Disk, folder: &str) -> Vec<String> {
        let mut names: Vec<_> =
            disk.list(Path::new(folder)).unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }

    #[test]
    fn changes_are_seen_above_and_never_come_below() {
        let below: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        below.create_folder(Path::new("f")).unwrap();
        for name in ["f/one", "f/two"] {
            below.create(Path::new(name)).unwrap().write_at(b"below", 0).unwrap();
        }
        let disk = OverlayDisk::new(Arc::clone(&below));
        let one = disk.open(Path::new("f/one")).unwrap();
        one.write_at(b"OW and more", 2).unwrap();
        one.write_at(b"x", 0).unwrap();
        disk.create(Path::new("f/new")).unwrap().write_at(b"new", 2).unwrap();
        assert!(disk.create(Path::new("f/two")).is_err() && disk.create(Path::new("f/new")).is_err());
        disk.rename(Path::new("f/two"), Path::new("f/three")).unwrap();
        disk.remove(Path::new("f/new")).unwrap();
        assert_eq!(disk.remove(Path::new("f/new")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(content(&disk, "f/one").unwrap(), b"xeOW and more");
        assert_eq!(content(&disk, "f/three").unwrap(), b"below");
        assert_eq!((content(&disk, "f/two"), content(&disk, "f/new")), (None, None));
        assert_eq!(names(&disk, "f"), ["one", "three"]);
        assert_eq!(names(&*below, "f"), ["one", "two"]);
        assert_eq!(content(&*below, "f/one").unwrap(), b"below");
    }
}
