//! A pack read from its beginning to its end, a stretch of it in memory. Sectors that cannot be read count as zeros.

use std::io;

use crate::disk::{DiskFile, is_device_error};

/// What is read at a time.
const WINDOW: usize = 4 << 20;
/// The piece that is given up when the device cannot read it.
const SECTOR: usize = 4096;

/// A stretch of the file in memory.
pub(super) struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Of a file that ends at `len`.
    pub(super) fn new(file: &'a dyn DiskFile, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Vec::new() }
    }

    /// Where the file ends.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Has what is read next come from the device.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
        self.file.drop_cache();
    }

    /// Bytes of the file; `None` if it ends before.
    pub(super) fn get(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let within = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let from = match within.filter(|from| from.saturating_add(len) <= self.bytes.len()) {
            Some(from) => from,
            None => {
                let before = offset % SECTOR as u64;
                self.load(offset - before, len.max(WINDOW) + SECTOR)?;
                usize::try_from(before).unwrap_or(0)
            }
        };
        Ok(self.bytes.get(from..from + len))
    }

    /// From a multiple of [`SECTOR`] on, so that what cannot be read takes nothing else with it.
    fn load(&mut self, offset: u64, len: usize) -> io::Result<()> {
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(len.min(usize::try_from(self.len - offset).unwrap_or(len)), 0);
        match self.file.read_at(&mut self.bytes, offset) {
            Err(error) if is_device_error(&error) => {}
            other => return other.map(|_| ()),
        }
        self.bytes.fill(0);
        let mut position = offset;
        for piece in self.bytes.chunks_mut(SECTOR) {
            match self.file.read_at(piece, position) {
                Err(error) if is_device_error(&error) => piece.fill(0),
                other => {
                    other?;
                }
            }
            position += piece.len() as u64;
        }
        Ok(())
    }
}
