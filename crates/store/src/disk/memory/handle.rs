//! An open file: it goes on whatever becomes of its name.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::file::Content;
use super::{BLOCK, Chance, Number, State, allocated, lock, not_found};
use crate::disk::DiskFile;

/// An open file. The path is the one it was opened under: only for [`super::MemoryDisk::fail_next_sync`].
#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) number: Number,
    pub(super) path: PathBuf,
}

impl MemoryFile {
    fn with<T>(&self, with: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        lock(&self.state).files.get_mut(&self.number).map(with).ok_or_else(not_found)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(content) = state.files.get_mut(&self.number) {
            content.handles -= 1;
        }
        state.forget(self.number);
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|content| content.read(buffer, offset))
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        let (used, capacity) = (state.used(), state.capacity);
        let content = state.files.get_mut(&self.number).ok_or_else(not_found)?;
        let end = offset + bytes.len() as u64;
        let grown = allocated(content.len().max(end)) - allocated(content.len());
        if grown == 0 || used + grown <= capacity {
            content.write(bytes, offset);
            return Ok(());
        }
        // As much as there is room for is written before the error comes.
        let room = allocated(content.len()) + capacity.saturating_sub(used) / BLOCK * BLOCK;
        let fits = usize::try_from(room.saturating_sub(offset)).unwrap_or(0).min(bytes.len());
        if let Some(part) = bytes.get(..fits).filter(|part| !part.is_empty()) {
            content.write(part, offset);
        }
        Err(io::Error::from(Errno::NOSPC))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        let failure = state.take_failure(&self.path);
        let content = state.files.get_mut(&self.number).ok_or_else(not_found)?;
        match failure {
            Some(failure) => {
                content.fail_sync(&mut Chance::new(failure.seed));
                Err(failure.errno.into())
            }
            None => {
                content.sync();
                Ok(())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|content| content.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        self.len().map(allocated)
    }

    fn drop_cache(&self) {
        let _ = self.with(Content::drop_cache);
    }
}
