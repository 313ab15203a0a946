//! The open files of packs: those at hand for readers, and those of packs that were unlinked and are still read.
//!
//! **Invariant:** of one pack one file is open for reading, whoever asks. So whoever reads a pack that is unlinked is
//! known, and its bytes count as used until the last of them is through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quick_cache::sync::Cache;

use super::format::PackId;
use super::pack::PackFile;

/// Packs that are kept open for reading: singles may be many, descriptors are few.
const OPEN_MAX: usize = 1024;

/// Open files.
#[derive(Debug)]
pub(super) struct PackFiles {
    /// Kept open.
    kept: Cache<PackId, Arc<PackFile>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Opened at some time, kept or not.
    opened: HashMap<PackId, Weak<PackFile>>,
    /// At this length of `opened` it is looked through for what nobody reads any more.
    look_through_at: usize,
    /// Of unlinked packs, and what they occupy.
    leaving: Vec<(Weak<PackFile>, u64)>,
}

impl Default for PackFiles {
    fn default() -> Self {
        let state = State { opened: HashMap::new(), look_through_at: 2 * OPEN_MAX, leaving: Vec::new() };
        Self { kept: Cache::new(OPEN_MAX), state: Mutex::new(state) }
    }
}

impl PackFiles {
    /// A file that is kept open. No lock that anybody holds for long.
    pub(super) fn kept(&self, id: PackId) -> Option<Arc<PackFile>> {
        self.kept.get(&id)
    }

    /// A file that somebody has open; it is kept open from here on.
    pub(super) fn opened(&self, id: PackId) -> Option<Arc<PackFile>> {
        let state = self.lock();
        let file = state.opened.get(&id).and_then(Weak::upgrade)?;
        self.kept.insert(id, file.clone());
        Some(file)
    }

    /// Keeps a file that was just opened, unless its pack is not there any more, and gives the one to be read from.
    pub(super) fn add(
        &self,
        id: PackId,
        file: Arc<PackFile>,
        is_there: impl FnOnce() -> bool,
    ) -> Option<Arc<PackFile>> {
        let mut state = self.lock();
        let file = state.opened.get(&id).and_then(Weak::upgrade).unwrap_or(file);
        if !is_there() {
            return None;
        }
        state.opened.insert(id, Arc::downgrade(&file));
        if state.opened.len() >= state.look_through_at {
            state.opened.retain(|_, file| file.strong_count() > 0);
            state.look_through_at = 2 * state.opened.len().max(OPEN_MAX);
        }
        self.kept.insert(id, file.clone());
        Some(file)
    }

    /// Its pack is not there any more. `forget` runs before anybody may open it again.
    pub(super) fn remove(&self, id: PackId, forget: impl FnOnce()) -> Option<Weak<PackFile>> {
        let mut state = self.lock();
        forget();
        let kept = self.kept.remove(&id);
        let opened = state.opened.remove(&id);
        drop(state);
        // Closing a file that was unlinked takes its time, and nobody should wait for it.
        drop(kept);
        opened
    }

    /// Its pack was unlinked; what it occupies counts for as long as somebody reads it.
    pub(super) fn leave(&self, bytes: u64, file: Weak<PackFile>) {
        self.lock().leaving.push((file, bytes));
    }

    /// The bytes of unlinked packs that nobody reads any more, each counted once.
    pub(super) fn take_left(&self) -> u64 {
        let mut left = 0;
        self.lock().leaving.retain(|(file, bytes)| {
            let read = file.strong_count() > 0;
            left += if read { 0 } else { *bytes };
            read
        });
        left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
