//! Connections to the database, and what SQLite's errors mean here.
//!
//! The database is `catalog.db` in the data directory, in WAL mode with `synchronous=FULL`: a COMMIT that returned is
//! on the disk. Only the writer's connection changes it.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{Error, Held, Result};

/// The name of the database in the data directory.
pub(super) const DATABASE: &str = "catalog.db";

/// An extended code of SQLite that the bindings have no name for: the index of the write-ahead log, a file in the
/// same folder, could not be made larger.
const IOERR_SHMSIZE: i32 = 10 | 19 << 8;

/// Lack of space; the figures are filled in by who knows the disk.
const FULL: Error = Error::NoSpace { held: Held::FileSystem, used: 0, limit: 0 };

/// How long the writer's connection waits for a lock, but where it must not.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How the writer's connection keeps its changes until they are committed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Durability {
    /// Each COMMIT is durable; the log is cut to so many bytes after a checkpoint.
    Committed { wal_bytes: u64 },
    /// None before the end: for a database that is thrown away if making it is interrupted.
    None,
}

/// Only the owner may read and write.
const PRIVATE: u32 = 0o600;

/// Takes the rights of everybody else from what lies in the data directory under a name of the database.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(DATABASE.as_bytes());
        if is_ours && entry.metadata()?.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(entry.path(), Permissions::from_mode(PRIVATE))?;
        }
    }
    Ok(())
}

/// Opens a database to write, makes it if there is none, and sets what must be set before its first table.
pub(super) fn open_writer(path: &Path, durability: Durability) -> Result<Connection> {
    // SQLite would let everybody read it; the files beside it get the rights of this one. Why it cannot be made, if it
    // cannot, SQLite finds out too.
    let _ = OpenOptions::new().append(true).create(true).mode(PRIVATE).open(path);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 0;",
        )?;
        match durability {
            Durability::Committed { wal_bytes } => {
                let wal_bytes = i64::try_from(wal_bytes).unwrap_or(i64::MAX);
                connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
                connection.pragma_update(None, "synchronous", "FULL")?;
                connection.pragma_update_and_check(None, "journal_size_limit", wal_bytes, |_| Ok(()))?;
            }
            Durability::None => {
                connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
                connection.pragma_update(None, "synchronous", "OFF")?;
            }
        }
        Ok(connection)
    };
    open().map_err(|error| sql_error("opening the catalog", error))
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    // Not SQLITE_OPEN_READ_ONLY: a reader takes its place in the index of the write-ahead log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.execute_batch(
            "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096;",
        )?;
        Ok(connection)
    };
    open().map_err(|error| sql_error("opening the catalog to read", error))
}

/// The file beside a database that SQLite keeps its log (`-wal`) or that log's index (`-shm`) in.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// What an error of SQLite is here: damage and lack of space are told apart from all else.
pub(super) fn sql_error(doing: impl Into<String>, error: rusqlite::Error) -> Error {
    let doing = doing.into();
    let code = error.sqlite_error_code();
    match code {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Damaged(format!("{doing}: {error}"))
        }
        Some(ErrorCode::DiskFull) => FULL,
        Some(ErrorCode::OperationInterrupted) => {
            Error::Busy("the catalog is being closed, or its files exchanged".into())
        }
        Some(ErrorCode::SystemIoFailure) if error.sqlite_extended_error_code() == Some(IOERR_SHMSIZE) => FULL,
        Some(_) => Error::Sql { doing, source: error },
        // Of our own statements: a column of another type than was written, a statement that fits no table.
        None => Error::Damaged(format!("{doing}: {error}")),
    }
}

/// Extended codes of SQLite: what was read is not what was written, or cannot be read.
const IOERR_READ: i32 = 10 | 1 << 8;
const IOERR_SHORT_READ: i32 = 10 | 2 << 8;
const IOERR_DATA: i32 = 10 | 32 << 8;
/// Memory, or memory of the operating system for a file, ran out.
const IOERR_NOMEM: i32 = 10 | 12 << 8;
/// `SQLITE_ERROR`: of our own statements, only that a table or a column is not there.
const ERROR: i32 = 1;

/// Whether a rebuild of the database would cure it: what was read is not what was written, or cannot be read. All
/// else may pass, as do too many open files, lack of memory, a lock, missing rights.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged(_) => true,
        Error::Sql { source, .. } => match source.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                // A row or an index whose bad bytes SQLite itself took for good.
                | ErrorCode::TooBig
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch,
            ) => true,
            Some(ErrorCode::SystemIoFailure) => matches!(
                source.sqlite_extended_error_code(),
                Some(IOERR_READ | IOERR_SHORT_READ | IOERR_DATA)
            ),
            _ => source.sqlite_extended_error_code().is_some_and(|code| code & 0xff == ERROR),
        },
        _ => false,
    }
}

/// Whether a write or sync may have failed halfway: nothing is known of the disk then.
pub(super) fn is_fault(error: &Error) -> bool {
    match error {
        Error::Sql { source, .. } => {
            source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
                && !is_damage(error)
                && source.sqlite_extended_error_code() != Some(IOERR_NOMEM)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_no_damage() {
        let of = |code: i32| {
            sql_error("trying", rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
        };
        // CORRUPT, NOTADB, and of IOERR: READ, SHORT_READ, DATA.
        for code in [11, 26, IOERR_READ, IOERR_SHORT_READ, IOERR_DATA] {
            assert!(is_damage(&of(code)) && !is_fault(&of(code)), "{code}");
        }
        // PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, CANTOPEN, PROTOCOL, NOLFS, AUTH, FULL.
        for code in [3, 5, 6, 7, 8, 9, 14, 15, 22, 23, 13, IOERR_NOMEM] {
            assert!(!is_damage(&of(code)) && !is_fault(&of(code)), "{code}");
        }
        // Of IOERR: WRITE, FSYNC, TRUNCATE.
        for code in [3, 4, 6].map(|kind| 10 | kind << 8) {
            assert!(!is_damage(&of(code)) && is_fault(&of(code)), "{code}");
        }
    }
}
