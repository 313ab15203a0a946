//! Puts a database that was made anew in the place of the damaged one.
//!
//! **Invariant:** the moment that counts is one rename, of the new database, whole and durable, to the name that says
//! so. A crash before it is a start with the old one and its log, untouched; after it the next start goes on from here
//! and ends with the new one. At no moment does a log lie beside a database that is not its own.

use std::io;
use std::path::Path;

use super::sqlite::{DATABASE, beside};
use crate::disk::{Disk, write_error};
use crate::{Error, Result};

/// The new database while it is being made.
pub(super) const UNFINISHED: &str = "catalog.db.unfinished";
/// The new database, whole, on its way to its place.
pub(super) const READY: &str = "catalog.db.rebuilt";
/// The old one, kept for whoever wants to look into it, until the next.
pub(super) const DAMAGED: &str = "catalog.db.damaged";

/// Sets the old database aside and puts the new one, which is durable, in its place. No connection may be open. Returns
/// the names of what was set aside.
pub(super) fn exchange(disk: &dyn Disk) -> Result<Vec<String>> {
    let decide = || {
        disk.rename(Path::new(UNFINISHED), Path::new(READY))?;
        disk.sync_folder(Path::new(""))
    };
    decide().map_err(|error| write_error(disk, "exchanging the catalog", error))?;
    finish(disk)
}

/// Ends an exchange that was decided, if there is one.
pub(super) fn finish(disk: &dyn Disk) -> Result<Vec<String>> {
    let swap = || -> io::Result<Vec<String>> {
        let (old, old_log) = (Path::new(DATABASE), beside(Path::new(DATABASE), "-wal"));
        let (aside, log_aside) = (Path::new(DAMAGED), beside(Path::new(DAMAGED), "-wal"));
        let database = set_away(disk, old, aside)?;
        let log = set_away(disk, &old_log, &log_aside)?;
        if database.is_some() && log.is_none() {
            // Of the one that was set aside before.
            remove(disk, &log_aside)?;
        }
        remove(disk, &beside(old, "-shm"))?;
        disk.sync_folder(Path::new(""))?;
        disk.rename(Path::new(READY), old)?;
        disk.sync_folder(Path::new(""))?;
        Ok(database.into_iter().chain(log).collect())
    };
    match disk.open(Path::new(READY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("looking for a rebuilt catalog", error)),
        Ok(_) => swap().map_err(|error| write_error(disk, "exchanging the catalog", error)),
    }
}

/// Sets aside a log that lies there without its database.
pub(super) fn set_aside_lone_log(disk: &dyn Disk) -> Result<Vec<String>> {
    let run = || {
        remove(disk, &beside(Path::new(DATABASE), "-shm"))?;
        set_away(disk, &beside(Path::new(DATABASE), "-wal"), &beside(Path::new(DAMAGED), "-wal"))
    };
    run()
        .map(Vec::from_iter)
        .map_err(|error| write_error(disk, "setting a log without its catalog aside", error))
}

/// Removes what an interrupted rebuild has left.
pub(super) fn discard(disk: &dyn Disk) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove(disk, &beside(Path::new(UNFINISHED), suffix))
            .map_err(|error| write_error(disk, "removing an unfinished catalog", error))?;
    }
    Ok(())
}

/// The bytes that the file system gave to the database and its logs, and to what was set aside or is unfinished.
pub(super) fn allocated(disk: &dyn Disk) -> (u64, u64) {
    let entries = disk.list(Path::new("")).unwrap_or_default();
    let bytes = |in_use: bool| {
        let ours =
            entries.iter().filter_map(|entry| Some((entry.name.strip_prefix(DATABASE)?, entry.allocated)));
        ours.filter(|(rest, _)| matches!(*rest, "" | "-wal" | "-shm") == in_use).map(|(_, bytes)| bytes).sum()
    };
    (bytes(true), bytes(false))
}

fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn set_away(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<Option<String>> {
    match disk.rename(from, to) {
        Ok(()) => Ok(Some(to.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::io::Errno;

    use super::*;
    use crate::disk::{Effect, Fault, FaultyDisk, MemoryDisk};

    fn content(disk: &dyn Disk, name: &str) -> Option<String> {
        let mut bytes = [0; 32];
        let length = disk.open(Path::new(name)).ok()?.read_at(&mut bytes, 0).unwrap();
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn volume(with_log: bool) -> Arc<MemoryDisk> {
        let disk = Arc::new(MemoryDisk::default());
        let files =
            [(DATABASE, "old"), (UNFINISHED, "new"), ("catalog.db.damaged-wal", "log of an older one")];
        let log = with_log.then_some(("catalog.db-wal", "log of the old"));
        for (name, content) in files.into_iter().chain(log) {
            let file = disk.create(Path::new(name)).unwrap();
            file.write_at(content.as_bytes(), 0).unwrap();
            file.sync().unwrap();
        }
        disk.sync_folder(Path::new("")).unwrap();
        disk
    }

    /// After the next start.
    fn assert_one_of_two(disk: &dyn Disk, with_log: bool, what: &str) -> bool {
        finish(disk).unwrap();
        discard(disk).unwrap();
        let log = content(disk, "catalog.db-wal");
        let is_new = content(disk, DATABASE).as_deref() == Some("new");
        if is_new {
            assert_eq!(log, None, "{what}");
            assert_eq!(content(disk, DAMAGED).as_deref(), Some("old"), "{what}");
        } else {
            assert_eq!(content(disk, DATABASE).as_deref(), Some("old"), "{what}");
            assert_eq!(log.as_deref(), with_log.then_some("log of the old"), "{what}");
        }
        assert_eq!((content(disk, UNFINISHED), content(disk, READY)), (None, None), "{what}");
        is_new
    }

    #[test]
    fn power_cut_at_each_call_leaves_the_old_database_with_its_log_or_the_new_one() {
        for with_log in [true, false] {
            let (mut old, mut new) = (0, 0);
            for nth in 1.. {
                let memory = volume(with_log);
                let fault = Fault { call: None, nth, effect: Effect::CutShort(Errno::IO), lasting: true };
                let faulty = FaultyDisk::new(Arc::clone(&memory) as Arc<dyn Disk>, fault);
                let exchanged = exchange(&faulty);
                for seed in 0..16 {
                    let what = format!("call {nth}, image {seed}, log {with_log}");
                    let is_new = assert_one_of_two(&memory.crash(seed), with_log, &what);
                    assert!(is_new || exchanged.is_err(), "{what}");
                    *if is_new { &mut new } else { &mut old } += 1;
                }
                // Killed without a power cut.
                assert_one_of_two(memory.as_ref(), with_log, &format!("call {nth}, log {with_log}"));
                if !faulty.has_struck() {
                    break;
                }
            }
            assert!(old > 8 && new > 48, "{old} {new}");
        }
    }
}
