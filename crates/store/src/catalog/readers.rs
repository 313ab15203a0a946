//! The connections that read: a few, shared by whoever comes.
//!
//! **Invariant:** while [`Readers::suspend`]ed none is open, so that the files may be exchanged below them. Nobody waits
//! long for that: reads are short, and one that is not is broken off.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};

use super::sqlite;
use crate::{Error, Result};

/// A read that is to be broken off is told so again and again, since between two statements it does not hear it.
const BREAK_OFF: Duration = Duration::from_millis(10);

/// A pool of reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    max: usize,
    state: Mutex<Pool>,
    changed: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    /// Connections lent out.
    out: usize,
    /// Those of them that may be out for long.
    long: Vec<Arc<InterruptHandle>>,
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

    /// As [`Readers::with`], for what may take minutes.
    ///
    /// # Errors
    /// [`Error::Busy`] if it was broken off: the files are being exchanged, or all is being closed.
    pub(super) fn with_long<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let lent = self.take()?;
        let connection = lent.connection()?;
        let handle = Arc::new(connection.get_interrupt_handle());
        self.lock().long.push(Arc::clone(&handle));
        let result = read(connection);
        self.lock().long.retain(|other| !Arc::ptr_eq(other, &handle));
        result
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

    /// Waits until no connection is lent out, and closes them; whoever comes waits until what this returns is dropped.
    pub(super) fn suspend(&self) -> Suspended<'_> {
        let mut pool = self.lock();
        pool.suspended = true;
        self.take_back(pool);
        Suspended(self)
    }

    /// Waits until no connection is lent out, and closes them; whoever comes, and whoever waits, is refused.
    pub(super) fn close(&self) {
        let mut pool = self.lock();
        pool.closed = true;
        self.changed.notify_all();
        self.take_back(pool);
    }

    /// Whether connections that are lent out for long are wanted back.
    pub(super) fn want_back(&self) -> bool {
        let pool = self.lock();
        pool.suspended || pool.closed
    }

    fn take_back(&self, mut pool: MutexGuard<'_, Pool>) {
        while pool.out > 0 {
            pool.long.iter().for_each(|read| read.interrupt());
            let waited = self.changed.wait_timeout(pool, BREAK_OFF);
            pool = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pool.idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pool({} of {} connections are lent out)", self.out, self.out + self.idle.len())
    }
}

/// No connection is open until this is dropped.
#[must_use]
pub(super) struct Suspended<'a>(&'a Readers);

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.0.lock().suspended = false;
        self.0.changed.notify_all();
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::catalog::sqlite::sql_error;

    /// Some minutes of work for SQLite.
    fn count_for_long(connection: &Connection) -> Result<i64> {
        let query = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) \
                     SELECT max(i) FROM n";
        connection.query_row(query, (), |row| row.get(0)).map_err(|error| sql_error("counting", error))
    }

    #[test]
    fn long_read_is_broken_off_when_its_connection_is_wanted_back() {
        for closing in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("catalog.db");
            Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
            let readers = Readers::new(path, 2);
            let (begun, begins) = mpsc::channel();
            std::thread::scope(|scope| {
                let reading = scope.spawn(|| {
                    readers.with_long(|connection| {
                        begun.send(()).unwrap();
                        count_for_long(connection)
                    })
                });
                begins.recv().unwrap();
                if closing {
                    readers.close();
                } else {
                    drop(readers.suspend());
                }
                let result = reading.join().unwrap();
                assert!(matches!(result, Err(Error::Busy(_))), "{result:?}");
            });
            let one = |connection: &Connection| {
                connection
                    .query_row("SELECT 1 FROM sqlite_schema", (), |row| row.get::<_, u32>(0))
                    .map_err(|error| sql_error("reading", error))
            };
            assert_eq!(readers.with(one).is_ok(), !closing);
        }
    }
}
