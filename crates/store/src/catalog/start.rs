//! Opens database and journal, compares them, and makes the one anew from the other where they do not agree.
//!
//! **Invariant:** the journal ahead of the database is damage of the database: its log is cut silently at the first
//! bad frame, and what a checkpoint had written back before is then of another time than the rest. Such a database is
//! never repaired, only replaced. Nothing here stops a start but lack of space, a disk that does not write, or a newer
//! format.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::cache::Cache;
use super::change::Request;
use super::head::Head;
use super::journal::{CleanEnd, Found, Journal, Seen};
use super::readers::Readers;
use super::shared::Shared;
use super::sqlite::{self, DATABASE, Durability, is_damage, sql_error};
use super::writer::Writer;
use super::{CatalogOptions, CatalogStarted, damage, exchange, migrations, pins, rebuild};
use crate::disk::{Disk, RealDisk, write_error};
use crate::{Error, Result};

/// What was found where the database should be.
#[derive(Debug)]
enum Database {
    Absent,
    Damaged,
    Usable(Connection, Head),
}

/// An older format, and the one that it was raised to.
type Upgraded = Option<(u32, u32)>;

/// Opens the catalog up to where its writer can begin.
pub(super) fn start(
    folder: &Path,
    disk: Arc<dyn Disk>,
    options: &CatalogOptions,
) -> Result<(Writer, Arc<Shared>, CatalogStarted)> {
    let opened = RealDisk::of_held(folder).and_then(|files| sqlite::make_private(folder).map(|()| files));
    let files = opened.map_err(|error| Error::io("opening the catalog's folder", error))?;
    let mut set_aside = exchange::finish(&files)?;
    exchange::discard(&files)?;
    let path = folder.join(DATABASE);
    let mut upgraded = None;
    let database = open(&path, &files, options, &mut set_aside, &mut upgraded)?;
    let clean_end = match &database {
        Database::Usable(_, head) if head.clean => Some(CleanEnd {
            number: head.journal_number,
            length: head.journal_length,
            live: head.journal_live,
        }),
        _ => None,
    };
    let Found { mut journal, seen, set_aside: unreadable } = Journal::open(Arc::clone(&disk), clean_end)?;
    set_aside.extend(unreadable);
    let trusted = matches!(&database, Database::Usable(..)) && seen.is_none();
    let mut replayed = None;
    let (connection, head) = match agree(database, seen, &mut journal) {
        Agreed::Go(connection, head) => (connection, head),
        Agreed::Rebuild(old) => {
            drop(old);
            // Where the journal ends early, the numbers in the old database say so.
            let built = rebuild::build(folder, &files, &journal.snapshot()?, false, &|| Ok(()))?;
            if built.is_journal_behind() {
                journal.set_behind();
            }
            set_aside.extend(exchange::exchange(&files)?);
            replayed = Some(built.seen.records);
            (sqlite::open_writer(&path, durability(options))?, built.head)
        }
        Agreed::New => (create(&path, &files, options)?, Head::default()),
    };
    let is_new = head.last_seq == 0;
    if is_new {
        journal.begin_file(0)?;
    }
    let cache = Cache::new(options.cache_bytes);
    let readers = Readers::new(path, options.readers);
    let shared = Arc::new(Shared::new(folder.to_owned(), files, disk, cache, readers, options.wal_bytes));
    let mut writer = Writer::new(connection, head, journal, Arc::clone(&shared)).with(options);
    match writer.commit(&[Request::Opened]) {
        // The first change that finds room says the same.
        Ok(_) | Err(Error::NoSpace { .. }) => {}
        Err(error) => return Err(error),
    }
    let clean = replayed.is_none() && (is_new || trusted);
    shared.unchecked.store(!clean && replayed.is_none(), Ordering::Release);
    let started = CatalogStarted {
        waterline: head.waterline,
        last_time: head.last_time,
        clean,
        rebuilt: replayed.is_some(),
        replayed: replayed.unwrap_or(0),
        upgraded,
        set_aside,
    };
    Ok((writer, shared, started))
}

/// What database and journal together come to.
#[derive(Debug)]
enum Agreed {
    Go(Connection, Head),
    Rebuild(Database),
    New,
}

fn agree(database: Database, seen: Option<Seen>, journal: &mut Journal) -> Agreed {
    match (database, seen) {
        (Database::Usable(connection, head), None) => Agreed::Go(connection, head),
        (Database::Usable(connection, head), Some(seen)) if seen.last_seq <= head.last_seq => {
            if seen.last_seq < head.last_seq {
                journal.set_behind();
            }
            Agreed::Go(connection, head)
        }
        (Database::Absent, Some(seen)) if seen.records == 0 => Agreed::New,
        (Database::Absent, None) => Agreed::New,
        (database, _) => Agreed::Rebuild(database),
    }
}

fn durability(options: &CatalogOptions) -> Durability {
    Durability::Committed { wal_bytes: options.wal_bytes }
}

fn create(path: &Path, files: &RealDisk, options: &CatalogOptions) -> Result<Connection> {
    let mut connection = sqlite::open_writer(path, durability(options))?;
    migrations::migrate(&mut connection)?;
    let durable = files.sync_folder(Path::new(""));
    durable.map_err(|error| write_error(files, "making the catalog's name durable", error))?;
    Ok(connection)
}

fn open(
    path: &Path,
    files: &RealDisk,
    options: &CatalogOptions,
    set_aside: &mut Vec<String>,
    upgraded: &mut Upgraded,
) -> Result<Database> {
    if std::fs::metadata(path).map_or(0, |file| file.len()) == 0 {
        set_aside.extend(exchange::set_aside_lone_log(files)?);
        return Ok(Database::Absent);
    }
    match open_existing(path, options, upgraded) {
        Ok((connection, head)) => Ok(Database::Usable(connection, head)),
        Err(error) if is_damage(&error) => {
            tracing::error!(%error, "the catalog cannot be read, and is made anew from its journal");
            Ok(Database::Damaged)
        }
        Err(error) => Err(error),
    }
}

fn open_existing(
    path: &Path,
    options: &CatalogOptions,
    upgraded: &mut Upgraded,
) -> Result<(Connection, Head)> {
    check_version(path)?;
    let mut connection = sqlite::open_writer(path, durability(options))?;
    let head = Head::read(&connection)?;
    let (found, known) = (migrations::format(&connection)?, migrations::KNOWN);
    // 0 is a database that a crash left without tables.
    if found > 0 && found < known {
        if !options.upgrade {
            return Err(Error::OlderFormat { found, known });
        }
        *upgraded = Some((found, known));
    }
    migrations::migrate(&mut connection)?;
    let head = match head {
        Some(head) => head,
        None => {
            let used: bool = connection
                .query_row("SELECT EXISTS (SELECT 1 FROM name)", (), |row| row.get(0))
                .map_err(|error| sql_error("reading the catalog", error))?;
            if used {
                return Err(Error::Damaged("the catalog has no head".into()));
            }
            Head::default()
        }
    };
    // Whoever starts the store reads these tables next, and cannot go on without them.
    damage::all(&connection)?;
    pins::all(&connection)?;
    Ok((connection, head))
}

/// SQLite takes a higher version in the byte at 18 for a database that it may only read: here that is damage.
fn check_version(path: &Path) -> Result<()> {
    let mut header = [0; 20];
    let mut read = || std::fs::File::open(path)?.read_at(&mut header, 0);
    read().map_err(|error| Error::io("reading the catalog's header", error))?;
    let [.., write, _] = header;
    if write > 2 { Err(Error::Damaged("the catalog's header has no known version".into())) } else { Ok(()) }
}
