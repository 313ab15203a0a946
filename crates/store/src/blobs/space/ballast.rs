//! The ballast: a file of no use but its size. When others have filled the file system to its last byte nothing can be
//! committed, and so nothing be let go. The ballast is given up then, what was used least recently goes, and the ballast
//! is made again.
//!
//! **Invariant:** while there is none, nobody takes the room that it needs, but what lets go.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{MIB, Space};
use crate::disk::{Disk, write_error};
use crate::{Held, Result};

/// Its name in the data directory.
const FILE: &str = "ballast";
/// What must be left beside a new one, in bytes.
const BESIDE: u64 = MIB;
/// With less than this, in bytes, the catalog may not open.
const FOR_A_START: u64 = MIB;
/// Bytes of one write.
const PIECE: usize = MIB as usize;

/// What is known of the file.
#[derive(Debug)]
pub(super) struct Ballast {
    /// What it is to have, in bytes.
    len: u64,
    /// What the file system gave it, 0 while there is none.
    held: AtomicU64,
    /// None was made since it was last given up, or since the start.
    is_wanted: AtomicBool,
}

impl Ballast {
    /// Takes over the file that is there, if it is whole.
    pub(super) fn find(disk: &dyn Disk, len: u64) -> Self {
        let found = disk.open(Path::new(FILE)).and_then(|file| Ok((file.len()?, file.allocated()?)));
        let held = found.ok().filter(|(found, _)| *found == len).map_or(0, |(_, allocated)| allocated);
        Self { len, held: AtomicU64::new(held), is_wanted: AtomicBool::new(held == 0) }
    }

    /// Bytes that it takes now.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes of the file system that are to be left to it.
    pub(super) fn missing(&self) -> u64 {
        if self.is_wanted.load(Ordering::Relaxed) { self.len } else { 0 }
    }
}

impl Ballast {
    /// What the file system must have to make it, in bytes; 0 while there is one.
    pub(super) fn wanted(&self) -> u64 {
        if self.missing() == 0 { 0 } else { self.len.saturating_add(BESIDE) }
    }
}

impl Space {
    /// Makes the ballast if there is none and room for it. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Io`](crate::Error::Io): there is none, and the next call tries again.
    pub(crate) fn hold_ballast(&self) -> Result<()> {
        let ballast = &self.ballast;
        if ballast.missing() == 0 || self.available() < ballast.wanted() {
            return Ok(());
        }
        let made = make(&*self.disk, ballast.len);
        self.was_full();
        let allocated = made.map_err(|error| {
            let _ = self.disk.remove(Path::new(FILE));
            write_error(&*self.disk, "making the ballast", error)
        })?;
        ballast.held.store(allocated, Ordering::Relaxed);
        ballast.is_wanted.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the ballast up, so that something can be written on a file system that is full: false if there is none, or
    /// if there is room without. Blocks.
    pub(crate) fn give_up_ballast(&self) -> bool {
        let ballast = &self.ballast;
        let full = self.available() < ballast.len;
        if ballast.held() == 0 || !full || self.disk.remove(Path::new(FILE)).is_err() {
            return false;
        }
        ballast.held.store(0, Ordering::Relaxed);
        ballast.is_wanted.store(true, Ordering::Relaxed);
        self.was_full();
        tracing::warn!(
            bytes = ballast.len,
            "the file system is full: the ballast is given up to let go of something"
        );
        true
    }

    /// Whether rows may be written: not with what is left for the ballast.
    pub(crate) fn check_room_for_rows(&self) -> Result<()> {
        let missing = self.ballast.missing();
        if missing == 0 || self.volume_has(0, missing) { Ok(()) } else { Err(self.full(Held::KeptFree)) }
    }
}

/// Makes sure that the catalog can be opened, by giving the ballast up if the file system is full.
pub(crate) fn make_room_to_start(disk: &dyn Disk) {
    let is_full = disk.space().is_ok_and(|space| space.available < FOR_A_START);
    if is_full && disk.remove(Path::new(FILE)).is_ok() {
        tracing::warn!("the file system is full: the ballast is given up to start");
    }
}

/// Writes it anew; says what the file system gave to it.
fn make(disk: &dyn Disk, len: u64) -> io::Result<u64> {
    let path = Path::new(FILE);
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(path)?;
    let mut piece = vec![0; PIECE];
    let (mut offset, mut state) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    while offset < len {
        // Bytes that no file system packs: they are to take room.
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let part = usize::try_from(len - offset).unwrap_or(PIECE).min(PIECE);
        file.write_at(piece.get(..part).unwrap_or_default(), offset)?;
        offset += part as u64;
    }
    file.sync()?;
    disk.sync_folder(Path::new(""))?;
    file.allocated()
}
