//! Reads a journal file, and goes on behind what is bad in it.
//!
//! **Invariant:** a record is handed out only if its keyed checksum is right; where it is not, the search goes on at
//! the next place a record may begin, so one bad record costs no other.

use std::sync::Arc;

use super::format::{self, ALIGNMENT, Change, RECORD_HEADER, Salt};
use crate::disk::DiskFile;

/// Read at once.
const WINDOW: usize = 1 << 20;
/// Skipped where the device cannot read.
const UNREADABLE: u64 = 4096;

/// A pass over the records of one file.
#[derive(Debug)]
pub(super) struct Scan {
    file: Arc<dyn DiskFile>,
    salt: Salt,
    offset: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    in_bad: bool,
    bad: u64,
}

impl Scan {
    /// Begins at the first record; `end` is where the file ended when the caller asked.
    pub(super) fn new(file: Arc<dyn DiskFile>, salt: Salt, end: u64) -> Self {
        let offset = format::FIRST_RECORD;
        Self { file, salt, offset, end, window: Vec::new(), window_at: 0, in_bad: false, bad: 0 }
    }

    /// Places passed that are no record; a torn tail counts as one.
    pub(super) fn bad(&self) -> u64 {
        self.bad
    }

    /// Where the next record may begin.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Number and change of the next good record.
    pub(super) fn next(&mut self) -> Option<(u64, Change)> {
        while self.offset < self.end {
            if let Some((length, seq, change)) = self.record_here() {
                self.offset += length as u64;
                self.in_bad = false;
                return Some((seq, change));
            }
            self.bad += u64::from(!self.in_bad);
            self.in_bad = true;
            self.offset += if self.load(RECORD_HEADER) { ALIGNMENT as u64 } else { UNREADABLE };
        }
        None
    }

    fn record_here(&mut self) -> Option<(usize, u64, Change)> {
        let length = format::announced(self.bytes(RECORD_HEADER)?)?;
        let salt = self.salt;
        let (seq, change) = format::decode_record(self.bytes(length)?, &salt)?;
        Some((length, seq, change))
    }

    fn bytes(&mut self, length: usize) -> Option<&[u8]> {
        if !self.load(length) {
            return None;
        }
        let from = usize::try_from(self.offset - self.window_at).ok()?;
        self.window.get(from..from + length)
    }

    /// Whether the window could be made to hold what is left here of the next `length` bytes.
    fn load(&mut self, length: usize) -> bool {
        let wanted = self.end.min(self.offset + length as u64);
        let loaded = self.window_at + self.window.len() as u64;
        if self.window_at <= self.offset && wanted <= loaded {
            return true;
        }
        let left = self.end - self.offset;
        // Where a window cannot be read, what is asked for may still be: the bad sector may lie behind it.
        for length in [left.min(WINDOW.max(length) as u64), wanted - self.offset] {
            if self.fill(length) && wanted <= self.window_at + self.window.len() as u64 {
                return true;
            }
        }
        false
    }

    fn fill(&mut self, length: u64) -> bool {
        self.window.resize(usize::try_from(length).unwrap_or(WINDOW), 0);
        self.window_at = self.offset;
        let read = self.file.read_at(&mut self.window, self.offset);
        self.window.truncate(*read.as_ref().unwrap_or(&0));
        if let Err(error) = &read {
            tracing::warn!(%error, offset = self.offset, "a part of the catalog's journal cannot be read");
        }
        read.is_ok()
    }
}
