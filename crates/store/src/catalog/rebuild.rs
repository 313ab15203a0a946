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

impl Rebuilt {
    /// Whether the journal does not hold all that the new database does.
    pub(super) fn is_journal_behind(&self) -> bool {
        !self.seen.complete || self.seen.bad > 0 || self.seen.last_seq < self.head.last_seq
    }
}

/// Builds the new database beside the old one, which goes on serving meanwhile. `behind` says that changes are known
/// to be missing from the journal, whatever its own numbers say.
///
/// A journal without a gap may still end early: its tail was not synced before a power cut, or could not be written.
/// What the old database has beyond that end is taken over too.
pub(super) fn build(folder: &Path, files: &[(File, u64)], behind: bool) -> Result<Rebuilt> {
    discard(folder)?;
    let path = folder.join(UNFINISHED);
    let mut connection = sqlite::open_writer(&path, Durability::None)?;
    migrations::migrate(&mut connection)?;
    let failed = |error| sql_error("rebuilding the catalog", error);
    let seen = survey(files, |_, _| Ok::<(), Error>(()))?;
    let needed = files.get(seen.first..).unwrap_or_default();
    let transaction = connection.transaction().map_err(failed)?;
    let mut head = Head::default();
    let old = open_old(&folder.join(DATABASE))?;
    let all = !seen.complete || behind;
    if let (true, Some(old)) = (all, &old) {
        salvage(old, &transaction, &mut head, None)?;
    }
    survey(needed, |seq, change| replay(&transaction, &mut head, seq, change))?;
    if let (false, Some(old)) = (all, &old) {
        // After the replay, since these are newer than all of it.
        salvage(old, &transaction, &mut head, Some(seen.last_seq))?;
    }
    drop(old);
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

/// Opens the damaged database; `None` if there is none, or if nothing of it can be read.
///
/// # Errors
/// What may pass: to go on without the database would throw away what only it has.
fn open_old(path: &Path) -> Result<Option<Connection>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("looking for the damaged catalog", error)),
        Ok(file) if file.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    let open = || {
        let old = sqlite::open_reader(path)?;
        // Files are opened at the first read only.
        migrations::format(&old)?;
        Ok(old)
    };
    unless_damaged(open())
}

/// Nothing where damage was met, which is to be expected here.
fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if sqlite::is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes over each row of the damaged database that can be reached and passes its checksum: from the front as far as
/// that goes, then from the end. With `after`, only the rows with a higher number. Damage only ends it.
fn salvage(old: &Connection, connection: &Connection, head: &mut Head, after: Option<u64>) -> Result<()> {
    let read = unless_damaged(Head::read(old))?.flatten().unwrap_or_default();
    head.waterline = head.waterline.max(read.waterline);
    head.last_time = head.last_time.max(read.last_time);
    head.last_seq = head.last_seq.max(read.last_seq);
    let end_of_journal = after.map_or(-1, u64::cast_signed);
    let (mut rows, mut after, mut before) = (0_u64, end_of_journal, i64::MAX);
    for (end, forward) in [("min", true), ("max", false)] {
        let query = format!("SELECT {end}(seq) FROM name WHERE seq > ?1 AND seq < ?2");
        let next = |after: i64, before: i64| {
            let read = || {
                let mut statement = old.prepare_cached(&query)?;
                statement.query_row((after, before), |row| row.get::<_, Option<i64>>(0))
            };
            unless_damaged(read().map_err(|error| sql_error("reading the damaged catalog", error)))
        };
        while let Some(seq) = next(after, before)?.flatten() {
            let mut found = None;
            let read = names::read(old, "WHERE seq = ?1", [seq], |value| {
                found = Some(value);
                Ok(())
            });
            if let (Some(()), Some(value)) = (unless_damaged(read)?, found) {
                head.last_seq = head.last_seq.max(value.seq);
                head.last_time = head.last_time.max(value.touched());
                names::apply(connection, head, &value)?;
                rows += 1;
            }
            if forward {
                after = seq;
            } else {
                before = seq;
            }
        }
    }
    // A journal that goes as far as the database holds each of them that was not forgotten since.
    if end_of_journal < read.last_seq.cast_signed() {
        // Losing one costs that a bad record is found again when it is next read.
        for (pack, offset) in unless_damaged(damage::all(old))?.unwrap_or_default() {
            damage::insert(connection, head, pack, offset)?;
        }
    }
    if rows > 0 {
        tracing::warn!(
            rows,
            "rows were taken over from the damaged catalog, since its journal does not hold all"
        );
    }
    Ok(())
}
