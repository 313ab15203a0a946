//! What runs on the blocking pool, and how much of it at a time.
//!
//! tokio's pool has 512 threads; when they all wait for a disk or a lock, whatever comes next waits for one of them. So
//! each kind of work has a bound of its own, and waits for its turn where it takes no thread:
//!
//! | work | at most |
//! | --- | --- |
//! | reads of blobs | [`READS_MAX`] |
//! | writes of blobs, unfinished uploads removed | [`WRITES_MAX`] |
//! | syncs, one a pack that is not sealed | the packs that wait for it (32), one for each write, the open one |
//! | walks of the domain, `names` and `du` of the operator among them | 32 |
//! | look-ups in the catalog | its connections, 4 |
//! | verifying, upkeep, restoring after a crash, backing up | one each |
//!
//! **Invariant:** these together are fewer than 512, whatever clients do. A turn is given back when the work is through,
//! not when nobody waits for it any more.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::{Error, Result};

/// Reads of blobs at a time that do not find what they want in the page cache.
const READS_MAX: usize = 256;
/// Writes of blobs at a time.
const WRITES_MAX: usize = 64;

/// The turns of one store.
#[derive(Debug)]
pub(super) struct Turns {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { reads: Arc::new(Semaphore::new(READS_MAX)), writes: Arc::new(Semaphore::new(WRITES_MAX)) }
    }
}

impl Turns {
    /// Reads on the blocking pool.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        ended(begin(&self.reads, work).await).await
    }

    /// Writes on the blocking pool.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        ended(self.begin_write(work).await).await
    }

    /// Begins to write on the blocking pool, once it is its turn.
    pub(super) async fn begin_write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        begin(&self.writes, work).await
    }
}

async fn begin<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    // Never closed, so it always is a turn.
    let turn: Option<OwnedSemaphorePermit> = Arc::clone(turns).acquire_owned().await.ok();
    tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    })
}

async fn ended<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    work.await.unwrap_or_else(|_| Err(Error::Busy("the work was broken off".to_owned())))
}
