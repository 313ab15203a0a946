//! The audit log: who did what, when and with what outcome, in segments of chained lines that are only ever appended to.
//!
//! **Invariant:** entries are written in the order of their numbers and never changed. What could not be written is written
//! before anything else is, and meanwhile [`Audit::ready`] says so.
//!
//! The oldest segments leave when the log has grown to what it may take; the next head keeps their closing hash.

mod backup;
mod line;
mod read;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::backup::copy;
pub use self::line::{Deed, Entry};
use self::line::{Head, encode, hex};
pub use self::read::{Verified, entries, verify};
use self::walk::{Link, Walk};
use crate::disk::{Disk, DiskFile, write_error};
use crate::{Error, Result};

/// The folder of the segments, below the data directory.
pub const FOLDER: &str = "audit";
/// So many segments make up what the log may take.
const SEGMENTS: u64 = 8;
/// The sizes that a segment may have, in bytes.
const SEGMENT_BYTES: (u64, u64) = (16 << 10, 16 << 20);

/// The log as its only writer has it.
#[derive(Debug)]
pub struct Audit {
    disk: Arc<dyn Disk>,
    keep: u64,
    state: Mutex<State>,
    /// How often something could not be written or made durable.
    failures: AtomicU64,
}

#[derive(Debug)]
struct State {
    link: Link,
    /// None until there is something to write.
    file: Option<Arc<dyn DiskFile>>,
    /// Oldest first, with their lengths; entries go to the last.
    segments: VecDeque<(u64, u64)>,
    /// What the head of the next segment has to say of the one before.
    torn: u64,
    unwritten: Vec<u8>,
    unsynced: bool,
    failed: Option<String>,
}

impl Audit {
    /// Opens the log on `disk`, or makes it, to take about `keep` bytes. What a crash tore off, or cannot be read, stays where
    /// it is and is no entry: a new segment begins behind it, and says so.
    ///
    /// # Errors
    /// What the operating system says of a folder that cannot be read or made.
    pub fn open(disk: Arc<dyn Disk>, keep: u64) -> Result<Self> {
        let failed = |error| write_error(&*disk, "opening the audit log", error);
        match disk.create_folder(Path::new(FOLDER)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Err(_) => {}
            Ok(()) => disk.sync_folder(Path::new("")).map_err(failed)?,
        }
        let mut segments = VecDeque::new();
        for entry in disk.list(Path::new(FOLDER)).map_err(failed)? {
            let number = entry.name.strip_suffix(".log").and_then(|number| number.parse::<u64>().ok());
            segments.extend(number.map(|number| (number, entry.len)));
        }
        segments.make_contiguous().sort_unstable();
        let (walk, from) = last_link(&*disk, &segments).map_err(failed)?;
        let link = walk.link.unwrap_or_default();
        let whole = walk.torn == 0 && from.is_some();
        let file = match segments.back().filter(|_| whole) {
            Some((number, _)) => Some(disk.open(&path(*number)).map_err(failed)?),
            None => None,
        };
        if walk.torn > 0 {
            tracing::warn!(
                bytes = walk.torn,
                entry = link.seq + 1,
                "the end of the audit log does not hold, most likely torn off by a crash: its next segment says so"
            );
        }
        let state = State {
            link,
            file,
            segments,
            torn: walk.torn,
            unwritten: Vec::new(),
            unsynced: false,
            failed: None,
        };
        let audit = Self { disk, keep, state: Mutex::new(state), failures: AtomicU64::new(0) };
        if walk.torn > 0 {
            // At once, or the next start would find the same. Without room the first entry says it.
            let _ = audit.begin_segment(&mut audit.state());
        }
        Ok(audit)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment_bytes(&self) -> u64 {
        (self.keep / SEGMENTS).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1)
    }

    /// Whether what is appended next will be written: nothing waits, and the disk has not failed.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::Poisoned`] since a write or sync failed for another reason.
    pub fn ready(&self) -> Result<()> {
        let mut state = self.state();
        self.write(&mut state)?;
        if state.file.is_none() || self.is_full(&state) { self.begin_segment(&mut state) } else { Ok(()) }
    }

    /// Writes these entries, whose numbers are given here, after [`Audit::ready`]. Those that find no room are kept and
    /// written first of all when there is some.
    ///
    /// # Errors
    /// As [`Audit::ready`].
    pub fn append(&self, entries: impl IntoIterator<Item = Entry>) -> Result<()> {
        let mut state = self.state();
        if state.file.is_none() {
            self.begin_segment(&mut state)?;
        }
        for entry in entries {
            let entry = Entry { seq: state.link.seq + 1, ..entry };
            let State { link, unwritten, .. } = &mut *state;
            let hash = encode(unwritten, &link.hash, &entry)
                .map_err(|error| Error::io("encoding an entry of the audit log", error.into()))?;
            *link = Link { hash, seq: entry.seq };
        }
        self.write(&mut state)
    }

    /// The same for what happens without anything being changed: while the log takes nothing in, it is left out.
    ///
    /// # Errors
    /// As [`Audit::ready`].
    pub fn note(&self, entry: Entry) -> Result<()> {
        self.ready()?;
        self.append([entry])
    }

    /// Makes durable what was written. Blocks.
    ///
    /// # Errors
    /// As [`Audit::ready`].
    pub fn sync(&self) -> Result<()> {
        let file = {
            let mut state = self.state();
            self.write(&mut state)?;
            if !std::mem::take(&mut state.unsynced) {
                return Ok(());
            }
            state.file.clone()
        };
        let Some(file) = file else { return Ok(()) };
        file.sync().map_err(|error| self.fail(&mut self.state(), "syncing the audit log", error))
    }

    /// How often something could not be written or made durable since it was opened.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Bytes allocated for it.
    pub fn allocated(&self) -> u64 {
        let entries = self.disk.list(Path::new(FOLDER));
        entries.map_or(0, |entries| entries.iter().map(|entry| entry.allocated).sum())
    }

    fn is_full(&self, state: &State) -> bool {
        state.segments.back().is_none_or(|(_, len)| *len >= self.segment_bytes())
    }

    fn write(&self, state: &mut State) -> Result<()> {
        if let Some(why) = &state.failed {
            return Err(Error::Poisoned(why.clone()));
        }
        let State { file: Some(file), segments, unwritten, unsynced, .. } = state else { return Ok(()) };
        let Some((_, len)) = segments.back_mut().filter(|_| !unwritten.is_empty()) else { return Ok(()) };
        if let Err(error) = file.write_at(unwritten, *len) {
            return Err(self.fail(state, "writing the audit log", error));
        }
        *len += unwritten.len() as u64;
        *unsynced = true;
        unwritten.clear();
        Ok(())
    }

    /// Begins the next segment once all before it is written.
    fn begin_segment(&self, state: &mut State) -> Result<()> {
        if let Some(file) = &state.file {
            file.sync().map_err(|error| self.fail(state, "syncing the audit log", error))?;
        }
        let number = state.segments.back().map_or(1, |(number, _)| number + 1);
        let head = Head {
            millpond_audit: 1,
            segment: number,
            first: state.link.seq + 1,
            before: hex(&state.link.hash),
            torn: state.torn,
        };
        let mut bytes = Vec::new();
        let hash = encode(&mut bytes, &state.link.hash, &head)
            .map_err(|error| Error::io("encoding a head of the audit log", error.into()))?;
        let file = make(&*self.disk, &path(number), &bytes).map_err(|error| {
            // What lies there would be taken for torn off.
            let _ = self.disk.remove(&path(number));
            self.fail(state, "beginning a segment of the audit log", error)
        })?;
        state.file = Some(file);
        state.segments.push_back((number, bytes.len() as u64));
        state.link.hash = hash;
        state.torn = 0;
        self.let_go(state);
        Ok(())
    }

    fn let_go(&self, state: &mut State) {
        // Room for what is being written, and for the entries of a last commit beyond its end.
        let most = self.keep.saturating_sub(2 * self.segment_bytes());
        while state.segments.len() > 1 && state.segments.iter().map(|(_, len)| len).sum::<u64>() > most {
            let Some((number, _)) = state.segments.pop_front() else { return };
            if let Err(error) = self.disk.remove(&path(number)) {
                tracing::warn!(%error, number, "a segment of the audit log could not be removed");
            }
        }
    }

    fn fail(&self, state: &mut State, doing: &str, error: io::Error) -> Error {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let error = write_error(&*self.disk, doing, error);
        if !matches!(error, Error::NoSpace { .. }) {
            tracing::error!(%error, "the audit log takes nothing in until a restart");
            state.failed.get_or_insert_with(|| error.to_string());
        }
        error
    }
}

/// Where the chain stood last, with what is torn off behind, and the segment where that is.
fn last_link(disk: &dyn Disk, segments: &VecDeque<(u64, u64)>) -> io::Result<(Walk, Option<u64>)> {
    let mut torn = 0;
    for (number, len) in segments.iter().rev() {
        let content = match content(disk, *number, *len) {
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(
                    %error,
                    number,
                    "a segment of the audit log cannot be read: it stays where it is, and the log goes on in the next one"
                );
                torn += len;
                continue;
            }
        };
        let mut walk = Walk::default();
        let holds = walk.segment(*number, &content, drop).is_ok() && walk.link.is_some();
        if holds {
            walk.torn += torn;
            return Ok((walk, Some(*number)));
        }
        torn += content.len() as u64;
    }
    Ok((Walk { torn, ..Walk::default() }, None))
}

fn content(disk: &dyn Disk, number: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let read = disk.open(&path(number))?.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

fn make(disk: &dyn Disk, path: &Path, head: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(path)?;
    file.write_at(head, 0)?;
    file.sync()?;
    disk.sync_folder(Path::new(FOLDER))?;
    Ok(file)
}

fn path(number: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{number}.log"))
}
