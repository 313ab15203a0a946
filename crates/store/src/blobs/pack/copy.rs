//! A pack copied to another volume, record by record: each lies there at the offset that it had, and every byte of it was
//! compared with its checksum and its hash between reading and writing.
//!
//! The copy is made under a name that no start takes for a pack's, and gets a footer of what is good in it; with that it is
//! durable before it gets its name. **Invariant:** what is bad in the source gets no header and no line in the footer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::PackFile;
use super::seal::Ending;
use super::search::{read_record, search_up_to};
use super::window::Window;
use crate::blobs::format::{FooterEntry, PackHeader, PackId, PackState, Place, VolumeKeys};
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Level, Result};

/// Gathered before each write.
const WRITE_BYTES: usize = 4 << 20;
/// A gap of so many bytes is not gathered.
const GAP_MAX: u64 = 64 << 10;
/// Bytes of the copy that may wait to be synced: all at once would hold up the syncs of uploads to the same device.
const UNSYNCED_MAX: u64 = 64 << 20;

/// What is to be copied of a pack, and where else its records may be found good.
#[derive(Debug)]
pub struct CopyPlan<'a> {
    /// Where it is copied from.
    pub source: &'a PackFile,
    /// The records that are to be copied, in the order they lie.
    pub entries: &'a [FooterEntry],
    /// An earlier copy, with what is in it.
    pub earlier: Option<(&'a PackFile, &'a [FooterEntry])>,
}

/// What a copy came to.
#[derive(Debug, Default)]
pub struct Copied {
    /// The length of its file; 0 if nothing was good, and there is none.
    pub len: u64,
    /// The records in it.
    pub records: usize,
    /// Those that are bad, wherever they were looked for.
    pub bad: Vec<FooterEntry>,
}

/// Where the copy lies until it is whole.
pub fn copy_path(id: PackId) -> PathBuf {
    id.folder().join(format!("{id}.copy"))
}

impl PackFile {
    /// What is good in the first `end` bytes, whatever a footer says. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) if another volume made it, [`Error::Io`](crate::Error::Io).
    pub fn search_up_to(&self, end: u64) -> Result<Vec<FooterEntry>> {
        search_up_to(self.file(), &self.keys, self.id(), end).map(|found| found.entries)
    }
}

impl CopyPlan<'_> {
    /// Copies to `target`, in place of an earlier copy if that is there. Asks `go_on` again and again, with bytes copied
    /// since it was asked last. The name is not durable yet: its folder is to be synced. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) and [`Error::Io`](crate::Error::Io) of the target or the source; whatever `go_on` says against it. The earlier copy
    /// stays as it was then.
    pub fn copy_to(
        &self,
        target: &dyn Disk,
        keys: &VolumeKeys,
        go_on: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Copied> {
        let id = self.source.id();
        let path = copy_path(id);
        let failed = |error| write_error(target, format!("copying pack {id}"), error);
        remove_if_there(target, &path).map_err(failed)?;
        let file = target.create(&path).map_err(failed)?;
        let written = self.write_to(target, &file, keys, go_on).and_then(|copied| {
            if copied.len > 0 {
                target.rename(&path, &id.path(PackState::Sealed)).map_err(failed)?;
            }
            Ok(copied)
        });
        // It is not needed again before the backup is.
        file.drop_cache();
        if !written.as_ref().is_ok_and(|copied| copied.len > 0) {
            // If it stays, the next copy removes it.
            let _ = target.remove(&path);
        }
        written
    }

    fn write_to(
        &self,
        target: &dyn Disk,
        file: &Arc<dyn DiskFile>,
        keys: &VolumeKeys,
        go_on: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Copied> {
        let id = self.source.id();
        let failed = |error| write_error(target, format!("copying pack {id}"), error);
        let kind = self.source.kind()?;
        let created = self.entries.iter().map(|entry| entry.time).min().unwrap_or(Level::ZERO);
        let header = PackHeader { kind, id, keys: *keys, created };
        let mut writer = Writer { target, file, start: 0, bytes: header.encode(), unsynced: 0 };
        let len = self.source.len()?;
        let mut window = Window::new(self.source.file(), len);
        let mut copied = Copied::default();
        let mut good = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let is_good = self.copy_record(&mut window, entry, &mut writer)?;
            if is_good || self.copy_earlier(entry, &mut writer)? {
                good.push(*entry);
            } else {
                copied.bad.push(*entry);
            }
            go_on(crate::blobs::format::record_len(entry.stored))?;
        }
        writer.flush().map_err(failed)?;
        copied.records = good.len();
        if good.is_empty() {
            return Ok(copied);
        }
        let ending = Ending { disk: target, file, keys, id, kind };
        copied.len = ending.write_footer(0, &good, &mut None)?;
        ending.sync()?;
        Ok(copied)
    }

    /// Whether the record is good, and was copied.
    fn copy_record(
        &self,
        window: &mut Window<'_>,
        entry: &FooterEntry,
        writer: &mut Writer<'_>,
    ) -> Result<bool> {
        let id = self.source.id();
        let read = |window: &mut Window<'_>, writer: &mut Writer<'_>| {
            let offset = Place { pack: id, offset: entry.offset }.byte_offset();
            let mut show = |offset, bytes: &[u8]| writer.put(offset, bytes);
            let header = read_record(window, &self.source.keys, id, offset, true, &mut show)?;
            Ok(header.is_some_and(|header| header.digest == entry.digest && header.stored == entry.stored))
        };
        // Reading lacks no space.
        let target = writer.target;
        let failed = |error| write_error(target, format!("copying pack {id}"), error);
        if read(window, writer).map_err(failed)? {
            return Ok(true);
        }
        // The page cache may be what is bad.
        window.forget();
        read(window, writer).map_err(failed)
    }

    /// The same from the earlier copy, if the record is in it.
    fn copy_earlier(&self, entry: &FooterEntry, writer: &mut Writer<'_>) -> Result<bool> {
        let Some((earlier, entries)) = self.earlier.filter(|(_, entries)| entries.contains(entry)) else {
            return Ok(false);
        };
        let mut window = Window::new(earlier.file(), earlier.len()?);
        let plan = CopyPlan { source: earlier, entries, earlier: None };
        plan.copy_record(&mut window, entry, writer)
    }
}

fn remove_if_there(disk: &dyn Disk, path: &std::path::Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gathers what lies together.
struct Writer<'a> {
    target: &'a dyn Disk,
    file: &'a Arc<dyn DiskFile>,
    /// Where what was gathered lies.
    start: u64,
    bytes: Vec<u8>,
    unsynced: u64,
}

impl Writer<'_> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.start + self.bytes.len() as u64;
        if offset > end + GAP_MAX || self.bytes.len() >= WRITE_BYTES {
            self.flush()?;
            self.start = self.start.max(offset);
        }
        let Some(at) = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok()) else {
            // The header of a record whose frames were written already.
            return self.file.write_at(bytes, offset);
        };
        let needed = self.bytes.len().max(at + bytes.len());
        self.bytes.resize(needed, 0);
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.bytes, self.start)?;
        self.start += self.bytes.len() as u64;
        self.unsynced += self.bytes.len() as u64;
        self.bytes.clear();
        if self.unsynced >= UNSYNCED_MAX {
            self.unsynced = 0;
            self.file.sync()?;
        }
        Ok(())
    }
}
