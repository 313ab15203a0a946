//! One part of the memory: bytes that are taken at once, and waited for in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in these, because a semaphore counts in 32 bits.
const UNIT_BYTES: u32 = 1024;

/// A part of the memory.
#[derive(Debug)]
pub(super) struct Pot {
    units: Arc<Semaphore>,
    waiters: AtomicUsize,
}

/// Bytes of a pot. Dropped, they are given back.
#[derive(Debug)]
pub(super) struct Taken {
    pot: Arc<Pot>,
    _units: OwnedSemaphorePermit,
}

impl Pot {
    /// A pot of so many bytes.
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        let units = usize::try_from(bytes / u64::from(UNIT_BYTES)).unwrap_or(usize::MAX);
        let units = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { units, waiters: AtomicUsize::new(0) })
    }

    /// So many bytes, if nobody has to wait for them.
    pub(super) fn try_take(self: &Arc<Self>, bytes: u32) -> Option<Taken> {
        let units = Arc::clone(&self.units).try_acquire_many_owned(bytes.div_ceil(UNIT_BYTES)).ok()?;
        Some(Taken { pot: Arc::clone(self), _units: units })
    }

    /// So many bytes, after those who asked before. `None` only if the pot is no more.
    pub(super) async fn take(self: &Arc<Self>, bytes: u32) -> Option<Taken> {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.waiters);
        let units = Arc::clone(&self.units).acquire_many_owned(bytes.div_ceil(UNIT_BYTES)).await.ok()?;
        Some(Taken { pot: Arc::clone(self), _units: units })
    }

    #[cfg(test)]
    pub(super) fn bytes_left(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES as usize
    }
}

impl Taken {
    /// Whether others wait for such bytes.
    pub(super) fn is_wanted(&self) -> bool {
        self.pot.waiters.load(Ordering::Relaxed) > 0
    }
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
