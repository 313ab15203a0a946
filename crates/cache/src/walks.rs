//! Turns at walking closures: so many at a time, since the threads that may block serve reads and writes too.
//!
//! **Invariant:** a publish waits for its turn however long that takes. A look-up does not join a queue that is full:
//! what it would be told after that long, a client would rather build.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Result};

/// Walks at a time.
pub(crate) const WALKS_MAX: usize = 32;

/// Who walks, and who waits for it.
#[derive(Debug)]
pub(crate) struct Walks {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: AtomicUsize,
}

/// Held while one walks.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// One that waits, until it has its turn or goes away.
struct Waiting<'w>(&'w Walks);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Walks {
    /// With so many that may wait before look-ups do not.
    pub(crate) fn new(waiting_max: usize) -> Self {
        let (turns, waiting) = (Arc::new(Semaphore::new(WALKS_MAX)), AtomicUsize::new(0));
        Self { turns, waiting, waiting_max: AtomicUsize::new(waiting_max) }
    }

    /// From now on so many may wait.
    pub(crate) fn change(&self, waiting_max: usize) {
        self.waiting_max.store(waiting_max, Ordering::Relaxed);
    }

    fn waiting_max(&self) -> usize {
        self.waiting_max.load(Ordering::Relaxed)
    }

    /// A turn, whoever is before.
    pub(crate) async fn turn(&self) -> Result<Turn> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.wait(Waiting(self)).await
    }

    /// A turn, or none if as many wait already as may.
    pub(crate) async fn turn_unless_full(&self) -> Result<Option<Turn>> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(Some(Turn { _permit: permit }));
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(self);
        if before >= self.waiting_max() {
            return Ok(None);
        }
        self.wait(waiting).await.map(Some)
    }

    async fn wait(&self, _waiting: Waiting<'_>) -> Result<Turn> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { _permit: permit })
    }

    /// Whether a look-up would be turned away.
    pub(crate) fn is_full(&self) -> bool {
        self.turns.available_permits() == 0 && self.waiting.load(Ordering::Relaxed) >= self.waiting_max()
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
