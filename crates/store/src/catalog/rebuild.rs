//! Makes the database anew: from the journal, and where that does not hold all, from what can still be read of the
//! damaged database.
//!
//! **Invariant:** until the new database is whole and durable it lies under another name, and nothing else was
//! touched; a crash at any moment is a start with the old one, or with the journal ahead, and so another rebuild.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;

use super::head::Head;
use super::journal::{Change, File, Seen, survey};
use super::sqlite::{self, DATABASE, Durability, beside, sql_error};
use super::{damage, migrations, names};
use crate::{Error, Result};

/// The new database while it is being made.
const UNFINISHED: &str = "catalog.db.unfinished";
/// The old one, kept for whoever wants to look into it, until the next.
const DAMAGED: &str = "catalog.db.damaged";

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rebuilt {
    pub(super) head: Head,
    pub(super) seen: Seen,
}

/// Builds the new database beside the old one, which goes on serving meanwhile.
pub(super) fn build(folder: &Path, files: &[(File, u64)]) -> Result<Rebuilt> {
    discard(folder)?;
    let path = folder.join(UNFINISHED);
    let mut connection = sqlite::open_writer(&path, Durability::None)?;
    migrations::migrate(&mut connection)?;
    let failed = |error| sql_error("rebuilding the catalog", error);
    let seen = survey(files, |_, _| Ok::<(), Error>(()))?;
    let needed = files.get(seen.first..).unwrap_or_default();
    let transaction = connection.transaction().map_err(failed)?;
    let mut head = Head::default();
    if !seen.complete {
        salvage(&folder.join(DATABASE), &transaction, &mut head);
    }
    survey(needed, |seq, change| replay(&transaction, &mut head, seq, change))?;
    head.write(&transaction)?;
    transaction.commit().map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    let durable = || fs::File::open(&path)?.sync_all();
    durable().map_err(|error| Error::io("making the rebuilt catalog durable", error))?;
    Ok(Rebuilt { head, seen })
}

/// Sets the old database aside and puts the new one in its place. No connection may be open.
pub(super) fn exchange(folder: &Path) -> Result<Vec<String>> {
    let swap = || -> io::Result<Vec<String>> {
        let sync = || fs::File::open(folder)?.sync_all();
        let (old, aside) = (folder.join(DATABASE), folder.join(DAMAGED));
        // First the old log: beside another database it would be taken for that one's.
        let mut set_aside = Vec::new();
        remove(&beside(&aside, "-wal"))?;
        set_aside.extend(set_away(&beside(&old, "-wal"), &beside(&aside, "-wal"))?);
        remove(&beside(&old, "-shm"))?;
        sync()?;
        set_aside.extend(set_away(&old, &aside)?);
        fs::rename(folder.join(UNFINISHED), old)?;
        sync()?;
        Ok(set_aside)
    };
    swap().map_err(|error| Error::io("exchanging the catalog", error))
}

/// Sets aside a log that lies there without its database.
pub(super) fn set_aside_lone_log(folder: &Path) -> Result<Vec<String>> {
    let (old, aside) = (folder.join(DATABASE), folder.join(DAMAGED));
    let run = || {
        remove(&beside(&old, "-shm"))?;
        set_away(&beside(&old, "-wal"), &beside(&aside, "-wal"))
    };
    run().map(Vec::from_iter).map_err(|error| Error::io("setting a log without its catalog aside", error))
}

/// Removes what an interrupted rebuild has left.
pub(super) fn discard(folder: &Path) -> Result<()> {
    let path = folder.join(UNFINISHED);
    for path in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm"), beside(&path, "-journal")] {
        remove(&path).map_err(|error| Error::io("removing an unfinished catalog", error))?;
    }
    Ok(())
}

/// The bytes that the file system gave to the database, the files beside it, and what was set aside of them.
pub(super) fn allocated(folder: &Path) -> u64 {
    let files = [DATABASE, DAMAGED, UNFINISHED].map(|name| folder.join(name)).into_iter();
    files
        .flat_map(|path| ["", "-wal", "-shm"].map(|suffix| beside(&path, suffix)))
        .filter_map(|path| fs::metadata(path).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn set_away(from: &Path, to: &Path) -> io::Result<Option<String>> {
    match fs::rename(from, to) {
        Ok(()) => Ok(to.file_name().map(|name| name.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn replay(connection: &Connection, head: &mut Head, seq: u64, change: Change) -> Result<()> {
    head.last_seq = head.last_seq.max(seq);
    match change {
        Change::Value(value) => {
            head.last_time = head.last_time.max(value.touched());
            names::apply(connection, head, &value)?;
        }
        Change::Removed(seq) => drop(names::remove(connection, head, seq)?),
        Change::Uses(uses) => {
            for (seq, level) in uses {
                head.last_time = head.last_time.max(level);
                names::raise(connection, head, seq, level)?;
            }
        }
        Change::Waterline(waterline) => {
            head.waterline = head.waterline.max(waterline);
            head.last_time = head.last_time.max(waterline);
        }
        Change::Damage { pack, offset } => drop(damage::insert(connection, head, pack, offset)?),
        Change::DamageForgotten(pack) => damage::forget(connection, head, pack)?,
        Change::Opened | Change::Complete => {}
    }
    Ok(())
}

/// Takes over each row of the damaged database that can be reached and passes its checksum: from the front as far as
/// that goes, then from the end. Errors only end it.
fn salvage(old: &Path, connection: &Connection, head: &mut Head) {
    let Ok(old) = sqlite::open_reader(old) else { return };
    if let Ok(Some(read)) = Head::read(&old) {
        *head =
            Head { waterline: read.waterline, last_time: read.last_time, last_seq: read.last_seq, ..*head };
    }
    let (mut rows, mut after, mut before) = (0_u64, -1_i64, i64::MAX);
    for (end, forward) in [("min", true), ("max", false)] {
        let query = format!("SELECT {end}(seq) FROM name WHERE seq > ?1 AND seq < ?2");
        let next = |after: i64, before: i64| {
            let mut statement = old.prepare_cached(&query)?;
            statement.query_row((after, before), |row| row.get::<_, Option<i64>>(0))
        };
        while let Ok(Some(seq)) = next(after, before) {
            let taken = names::read(&old, "WHERE seq = ?1", [seq], |value| {
                head.last_seq = head.last_seq.max(value.seq);
                names::apply(connection, head, &value)
            });
            rows += u64::from(taken.is_ok());
            if forward {
                after = seq;
            } else {
                before = seq;
            }
        }
    }
    for (pack, offset) in damage::all(&old).unwrap_or_default() {
        // Forgetting one costs that a bad record is found again when it is next read.
        let _ = damage::insert(connection, head, pack, offset);
    }
    tracing::warn!(
        rows,
        "rows were taken over from the damaged catalog, since its journal does not hold all"
    );
}
