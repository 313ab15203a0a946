//! The connections that read: a few, shared by whoever comes.
//!
//! **Invariant:** while [`Readers::suspend`]ed none is open, so that the files may be exchanged below them.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::sqlite;
use crate::{Error, Result};

/// A pool of reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    max: usize,
    state: Mutex<Pool>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    /// Connections lent out.
    out: usize,
    suspended: bool,
    closed: bool,
}

impl Readers {
    pub(super) fn new(path: PathBuf, max: usize) -> Self {
        Self { path, max: max.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Reads with one of the connections; waits for one if all are lent out.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let lent = self.take()?;
        read(lent.connection()?)
    }

    fn take(&self) -> Result<Lent<'_>> {
        let mut pool = self.lock();
        while !pool.closed && (pool.suspended || pool.out >= self.max) {
            pool = self.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        if pool.closed {
            return Err(Error::Busy("the catalog is closed".into()));
        }
        pool.out += 1;
        let mut lent = Lent { readers: self, connection: pool.idle.pop() };
        drop(pool);
        if lent.connection.is_none() {
            lent.connection = Some(sqlite::open_reader(&self.path)?);
        }
        Ok(lent)
    }

    /// Waits until no connection is lent out, and closes them; whoever comes waits for [`Readers::resume`].
    pub(super) fn suspend(&self) {
        let mut pool = self.lock();
        pool.suspended = true;
        while pool.out > 0 {
            pool = self.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.idle.clear();
    }

    /// Ends [`Readers::suspend`].
    pub(super) fn resume(&self) {
        self.lock().suspended = false;
        self.changed.notify_all();
    }

    /// As [`Readers::suspend`], and whoever comes is refused.
    pub(super) fn close(&self) {
        self.suspend();
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection lent out, given back when dropped.
struct Lent<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Lent<'_> {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| Error::Busy("the catalog is not open".into()))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.lock();
        pool.out -= 1;
        pool.idle.extend(self.connection.take());
        self.readers.changed.notify_all();
    }
}
