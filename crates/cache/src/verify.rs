//! Verifying in the background what a look-up had no time for: blobs that this process neither wrote nor read to
//! their end yet. One thread, whatever the number of look-ups.
//!
//! What is bad becomes missing, and the names that hold it with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_store::blobs::Blobs;
use millpond_store::{Digest, Level, now_and_then};

/// Blobs that wait at most; what does not fit is verified by a later look-up, or when it is read.
const WAITING_MAX: usize = 100_000;

/// The queue and the one who works it off.
#[derive(Debug)]
pub(crate) struct Verifier {
    blobs: Blobs,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Digest>,
    running: bool,
    stopped: bool,
}

impl Verifier {
    pub(crate) fn new(blobs: Blobs) -> Arc<Self> {
        Arc::new(Self { blobs, state: Mutex::default() })
    }

    /// Verifies these when their turn comes.
    pub(crate) fn verify_later(self: &Arc<Self>, unchecked: Vec<Digest>) {
        if unchecked.is_empty() {
            return;
        }
        let mut state = self.lock();
        let room = WAITING_MAX.saturating_sub(state.waiting.len());
        state.waiting.extend(unchecked.into_iter().take(room));
        if !state.running && !state.stopped {
            state.running = true;
            let verifier = Arc::clone(self);
            tokio::task::spawn_blocking(move || verifier.work());
        }
    }

    /// Ends after the blob at hand.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
    }

    fn work(&self) {
        while let Some(digest) = self.next() {
            // Raising to the lowest level changes nothing, and tells whether somebody else has verified it meanwhile.
            let raised = self.blobs.raise(std::slice::from_ref(&digest), Level::ZERO);
            if raised.unchecked.is_empty() {
                continue;
            }
            if let Err(error) = self.blobs.verify(&digest) {
                now_and_then!(warn, %digest, %error, "a blob cannot be read back");
            }
        }
    }

    fn next(&self) -> Option<Digest> {
        let mut state = self.lock();
        let next = if state.stopped { None } else { state.waiting.pop_front() };
        state.running = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
