//! What a tree reaches, remembered, so that the next walk raises without reading a directory again.
//!
//! The list of a tree's blobs is a fact for ever: it follows from the root's digest. What was found out about them
//! (present, raised to which level, which places are not durable yet) holds for an epoch only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_store::blobs::SyncPoints;
use millpond_store::{Digest, Level};

/// Bytes that all remembered lists may take together.
const BYTES_MAX: usize = 64 << 20;
/// What a memo takes beside its list.
const MEMO_BYTES: usize = size_of::<Digest>() + size_of::<Entry>() + size_of::<Mutex<Memo>>();

/// What is known of one tree.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// Every blob of the tree, directories included, each once; empty when the tree was never walked to its end.
    pub digests: Arc<[Digest]>,
    /// What the last walk that found all of them there raised them to, and the epoch in which it began.
    pub whole: Option<(Level, u64)>,
    /// The last pass over all names that has marked each of these blobs as needed.
    pub marked_in: u64,
    /// Places that were not durable when they were last raised: whoever publishes by this memo waits for them too.
    pub unsynced: SyncPoints,
}

/// The memos, least used out first.
#[derive(Debug, Default)]
pub(super) struct Memos {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Digest, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    memo: Arc<Mutex<Memo>>,
    bytes: usize,
    last_use: u64,
}

impl Memos {
    /// The memo of a tree. Its lock is what makes a second walk of the same tree wait for the first.
    pub(super) fn of(&self, root: &Digest) -> Arc<Mutex<Memo>> {
        let mut state = lock(&self.state);
        state.uses += 1;
        let now = state.uses;
        if let Some(entry) = state.entries.get_mut(root) {
            entry.last_use = now;
            return Arc::clone(&entry.memo);
        }
        let memo = Arc::<Mutex<Memo>>::default();
        let bytes = MEMO_BYTES;
        state.entries.insert(*root, Entry { memo: Arc::clone(&memo), bytes, last_use: now });
        state.bytes += bytes;
        memo
    }

    /// The blobs of a tree, if they are known and nobody is walking it just now.
    pub(super) fn known(&self, root: &Digest) -> Option<Arc<[Digest]>> {
        let memo = lock(&self.state).entries.get(root).map(|entry| Arc::clone(&entry.memo))?;
        let digests = Arc::clone(&memo.try_lock().ok()?.digests);
        (!digests.is_empty()).then_some(digests)
    }

    /// Forgets a memo that nothing was learnt for.
    pub(super) fn forget(&self, root: &Digest) {
        let mut state = lock(&self.state);
        if let Some(entry) = state.entries.remove(root) {
            state.bytes -= entry.bytes;
        }
    }

    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        let mut state = lock(&self.state);
        (state.entries, state.bytes) = (HashMap::new(), 0);
    }

    /// Counts what a memo takes now, and forgets others when all take too much.
    pub(super) fn weigh(&self, root: &Digest, digests: usize) {
        let bytes = digests * size_of::<Digest>() + MEMO_BYTES;
        let mut state = lock(&self.state);
        let Some(entry) = state.entries.get_mut(root) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        state.bytes = state.bytes + bytes - before;
        if state.bytes > BYTES_MAX {
            state.forget_least_used();
        }
    }
}

impl State {
    /// Forgets down to three quarters, so that the sort is rare.
    fn forget_least_used(&mut self) {
        let mut by_use: Vec<_> = self.entries.iter().map(|(root, entry)| (entry.last_use, *root)).collect();
        by_use.sort_unstable();
        for (_, root) in by_use {
            if self.bytes <= BYTES_MAX / 4 * 3 {
                break;
            }
            if let Some(entry) = self.entries.remove(&root) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

/// A panic elsewhere leaves no half-made memo behind: each is replaced whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_least_used_go_first() {
        let memos = Memos::default();
        let root = |n: u64| Digest::of(&n.to_le_bytes());
        let each = BYTES_MAX / size_of::<Digest>() / 10;
        for n in 0..100 {
            memos.of(&root(n));
            memos.weigh(&root(n), each);
            memos.of(&root(0));
        }
        let state = lock(&memos.state);
        assert!(state.bytes <= BYTES_MAX);
        assert!(state.entries.contains_key(&root(0)) && state.entries.contains_key(&root(99)));
        assert!(!state.entries.contains_key(&root(1)));
        assert_eq!(state.bytes, state.entries.values().map(|entry| entry.bytes).sum::<usize>());
    }

    #[test]
    fn memo_that_nothing_was_learnt_for_takes_nothing() {
        let memos = Memos::default();
        for n in 0..1000_u64 {
            let root = Digest::of(&n.to_le_bytes());
            memos.of(&root);
            memos.forget(&root);
        }
        let state = lock(&memos.state);
        assert_eq!((state.bytes, state.entries.len()), (0, 0));
    }
}
