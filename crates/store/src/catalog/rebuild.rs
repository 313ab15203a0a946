//! Makes the database anew: from the journal, and where that does not hold all, from what can still be read of the
//! damaged database.
//!
//! **Invariant:** until the new database is whole and durable it lies under another name, and nothing else was
//! touched. It is then exchanged in `exchange`.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::exchange::{UNFINISHED, discard};
use super::head::Head;
use super::journal::{Change, File, Seen, survey};
use super::salvage::{Salvage, unless_damaged};
use super::sqlite::{self, DATABASE, Durability, sql_error};
use super::{damage, migrations, names, pins};
use crate::disk::{Disk, write_error};
use crate::{Error, Result};

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

/// Builds the new database beside the old one in `folder`, on `disk`; the old one goes on serving meanwhile. `behind`
/// says that changes are known to be missing from the journal, whatever its own numbers say.
///
/// A journal without a gap may still end early: its tail was not synced before a power cut, or could not be written.
/// What the old database knows beyond that end is taken over too.
///
/// # Errors
/// Whatever `go_on`, asked again and again, says against it: all is as it was then.
pub(super) fn build(
    folder: &Path,
    disk: &dyn Disk,
    files: &[(File, u64)],
    behind: bool,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Rebuilt> {
    discard(disk)?;
    let path = folder.join(UNFINISHED);
    let mut connection = sqlite::open_writer(&path, Durability::None)?;
    migrations::migrate(&mut connection)?;
    let failed = |error| sql_error("rebuilding the catalog", error);
    let seen = survey(files, |_, _| go_on())?;
    let needed = files.get(seen.first..).unwrap_or_default();
    let transaction = connection.transaction().map_err(failed)?;
    let mut head = Head::default();
    let old = open_old(&folder.join(DATABASE))?.map(Salvage::new).transpose()?;
    if let Some(old) = &old {
        head.waterline = old.head.waterline;
        head.last_time = old.head.last_time;
        head.last_seq = old.head.last_seq;
    }
    let old = old.filter(|old| behind || !seen.complete || old.reach > seen.last_seq);
    let reach = old.as_ref().map_or(0, |old| old.reach);
    let replay = |head: &mut Head, wanted: &dyn Fn(u64) -> bool| {
        survey(needed, |seq, change| {
            go_on()?;
            if wanted(seq) { self::replay(&transaction, head, seq, change) } else { Ok(()) }
        })
    };
    if let Some(old) = &old {
        replay(&mut head, &|seq| seq <= reach)?;
        old.merge(&transaction, &mut head, go_on)?;
    }
    replay(&mut head, &|seq| seq > reach)?;
    drop(old);
    head.write(&transaction)?;
    transaction.commit().map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    let durable = || disk.open(Path::new(UNFINISHED))?.sync();
    durable().map_err(|error| write_error(disk, "making the rebuilt catalog durable", error))?;
    Ok(Rebuilt { head, seen })
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
                names::raise(connection, head, seq, level, level)?;
            }
        }
        Change::Levels(levels) => {
            for (seq, level, touched) in levels {
                head.last_time = head.last_time.max(touched);
                names::change_levels(connection, head, seq, |_, _| (level, touched))?;
            }
        }
        Change::Waterline(waterline) => {
            head.waterline = head.waterline.max(waterline);
            head.last_time = head.last_time.max(waterline);
        }
        Change::Damage { pack, offset } => drop(damage::insert(connection, head, pack, offset)?),
        Change::DamageForgotten(pack) => damage::forget(connection, head, pack)?,
        Change::Pinned(pin) => pins::insert(connection, head, &pin)?,
        Change::Unpinned(id) => drop(pins::remove(connection, head, id)?),
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
