//! The seam between the store and a volume: about nine calls, paths relative to the data directory.
//!
//! [`RealDisk`] is a directory, [`MemoryDisk`] keeps what is durable apart from what is only written and yields the
//! image that a power cut would leave, [`FaultyDisk`] stands before either and fails the n-th call, [`OverlayDisk`] keeps
//! what is changed to itself, [`WatchedDisk`] knows for how long a disk has not answered. All of it blocks;
//! who may wait is not decided here. What the files mean is not known here either.
//!
//! **Invariant:** what was written is durable once [`DiskFile::sync`] returned well, what was created, renamed or
//! removed once [`Disk::sync_folder`] of its folder did, and neither before.

mod faulty;
mod memory;
mod overlay;
mod real;
mod watched;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

pub use faulty::{Call, Effect, Fault, FaultyDisk, Hanging};
pub use memory::MemoryDisk;
pub use overlay::OverlayDisk;
pub use real::RealDisk;
pub use watched::{DiskDeed, DiskWatch, Watched, WatchedDisk};

use crate::{Error, Held};

/// A volume: folders and files below one data directory.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Makes a new file, open to read and write. `AlreadyExists` if the path is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// What lies in a folder, in no order; the empty path is the data directory itself.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// Makes a folder. `AlreadyExists` if the path is taken.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Gives a file another name in the same folder, in place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away; who has it open goes on reading it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// How large the file system is that the volume lies on, and what it has left.
    fn space(&self) -> io::Result<DiskSpace>;
}

/// An open file of a volume.
pub trait DiskFile: Send + Sync + Debug + 'static {
    /// Reads into `buffer` until it is full or the file ends; says how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads what can be had without waiting for the device, which may be less than a [`DiskFile::read_at`] would
    /// give. `WouldBlock` if that is nothing.
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of these pieces, one after the other, as [`DiskFile::write_at`] would: in few calls where that can be.
    /// Whatever stands before another file hands them on whole, or they are many calls again.
    fn write_pieces_at(&self, pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
        for piece in pieces {
            self.write_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
    /// Makes what was written before this call durable, with the length of the file. After an error nothing is known
    /// about any of it, and another call that returns well says nothing about it either.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is no byte in it.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
    /// The bytes that the file system gave to it: blocks, not length.
    fn allocated(&self) -> io::Result<u64>;
    /// Asks for all of the file to be forgotten by the page cache, so that the next read comes from the device. Written
    /// but unsynced bytes stay. There is no asking for a range: pages that it covers in part would stay, and so would
    /// large folios.
    fn drop_cache(&self);
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// The bytes that the file system gave to it.
    pub allocated: u64,
}

/// The file system's size and what is left, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total: u64,
    /// What we may still write.
    pub available: u64,
}

/// Whether the disk is full or a quota is: it heals by itself, so it is told apart from all else.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Whether the device could not read or write: a bad sector, a lost disk.
pub fn is_device_error(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::IO)
}

/// The store's error for a write or sync that failed: lack of space is told apart, with the file system's figures.
pub fn write_error(disk: &dyn Disk, doing: impl Into<String>, error: io::Error) -> Error {
    if !is_no_space(&error) {
        return Error::io(doing, error);
    }
    with_space(disk, Error::disk_full(DiskSpace { total: 0, available: 0 }))
}

/// Lack of space with the file system's figures; any other error as it is.
pub(crate) fn with_space(disk: &dyn Disk, error: Error) -> Error {
    match (error, disk.space()) {
        (Error::NoSpace { held: Held::FileSystem, .. }, Ok(space)) => Error::disk_full(space),
        (error, _) => error,
    }
}
