//! Packs that stay on the volume for whoever copies them, although nothing else needs them any more.
//!
//! A pack that is held leaves the index and the books of packs as any other; only its file's name goes later, once it was
//! copied. So letting go and compaction go on, and what they wait for is the file alone. No descriptor is kept for that: a
//! volume may have more packs than a process may have files open. A crash leaves the file where it is, as an unlink does that
//! a power cut undoes: the next start takes it for what it is.
//!
//! **Invariant:** what the file occupies counts as used until its name is gone and nobody reads it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use super::format::PackId;
use super::pack::PackFile;

/// A pack that goes once it was copied: what it occupies, and who reads it.
pub(super) type Going = (u64, Weak<PackFile>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldPacks {
    state: Mutex<State>,
    /// Bytes of those that are going.
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody copies.
    is_taken: bool,
    /// It is not known yet which are to be copied.
    all: bool,
    held: HashSet<PackId>,
    going: BTreeMap<PackId, Going>,
}

impl HeldPacks {
    /// Holds every pack; false if somebody does already.
    pub(super) fn hold_all(&self) -> bool {
        let mut state = self.lock();
        let is_free = !std::mem::replace(&mut state.is_taken, true);
        state.all |= is_free;
        is_free
    }

    /// Holds those that `look_out` makes of the ones that are going, and no others from now on; says which.
    pub(super) fn hold_only(&self, look_out: impl FnOnce(Vec<PackId>) -> Vec<PackId>) -> Vec<PackId> {
        let mut state = self.lock();
        let wanted = look_out(state.going.keys().copied().collect());
        state.held = wanted.iter().copied().collect();
        state.all = false;
        wanted
    }

    /// If the pack is held, takes note that it goes later, with what `leave` says of it.
    pub(super) fn goes_later(&self, id: PackId, leave: impl FnOnce() -> Going) -> bool {
        let mut state = self.lock();
        if !state.all && !state.held.contains(&id) {
            return false;
        }
        let going = leave();
        self.bytes.fetch_add(going.0, Ordering::Relaxed);
        state.going.insert(id, going);
        true
    }

    /// The first of the packs that would be gone.
    pub(super) fn first_going(&self) -> Option<PackId> {
        self.lock().going.keys().next().copied()
    }

    /// Holds the pack no longer. If it was to go: what is known of it.
    pub(super) fn release(&self, id: PackId) -> Option<Going> {
        let mut state = self.lock();
        state.held.remove(&id);
        let going = state.going.remove(&id)?;
        self.bytes.fetch_sub(going.0, Ordering::Relaxed);
        Some(going)
    }

    /// Holds none any more, though whoever holds has not ended; those that were to go.
    pub(super) fn give_up(&self) -> Vec<(PackId, Going)> {
        let mut state = self.lock();
        (state.all, state.held) = (false, HashSet::new());
        let going = std::mem::take(&mut state.going);
        self.bytes.store(0, Ordering::Relaxed);
        drop(state);
        going.into_iter().collect()
    }

    /// Holds none any more; those that were to go.
    pub(super) fn release_all(&self) -> Vec<(PackId, Going)> {
        let mut state = self.lock();
        let State { going, .. } = std::mem::take(&mut *state);
        self.bytes.store(0, Ordering::Relaxed);
        drop(state);
        going.into_iter().collect()
    }

    /// What those occupy that would be gone.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
