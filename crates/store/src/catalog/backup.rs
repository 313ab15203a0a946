//! A copy of the database as it is at one moment, while it is written to.
//!
//! Pages are copied within one transaction that reads, so the writer goes on; what it cannot do meanwhile is to cut its log,
//! which grows by what is committed. The copy is read and compared with all its checksums before it counts. The journal is
//! not copied: the first start on the copy begins one.

use std::io;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::head::Head;
use super::sqlite::{self, DATABASE, Durability, beside, sql_error};
use super::{Catalog, check, damage};
use crate::disk::{Disk, write_error};
use crate::{Error, Result};

/// The copy until it takes the place of the one before.
const NEXT: &str = "catalog.db.next";
/// Pages that are copied at a time.
const PAGES: std::ffi::c_int = 1024;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogCopied {
    /// Names that are in force.
    pub names: u64,
    /// Bytes of the copy.
    pub bytes: u64,
}

impl Catalog {
    /// Copies the database into `folder`, which is the one of `disk`, beside the one that lies there. Asks `go_on` again and
    /// again. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::Busy`] when all is being closed; whatever `go_on` says against it.
    pub fn copy_to(
        &self,
        folder: &Path,
        disk: &dyn Disk,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<CatalogCopied> {
        let readers = &self.inner.shared.readers;
        let path = folder.join(NEXT);
        remove(disk, NEXT)?;
        let copied = readers.with_long(|connection| {
            let mut copy = sqlite::open_writer(&path, Durability::None)?;
            let names = copy_pages(connection, &mut copy, &mut || {
                if readers.want_back() { self.inner.shared.ended() } else { go_on() }
            })?;
            forget_damage(&copy)?;
            copy.close().map_err(|(_, error)| sql_error("closing the copy of the catalog", error))?;
            Ok(names)
        });
        let names = copied?;
        let durable = || {
            let file = disk.open(Path::new(NEXT))?;
            file.sync()?;
            file.len()
        };
        let bytes =
            durable().map_err(|error| write_error(disk, "making the copy of the catalog durable", error))?;
        Ok(CatalogCopied { names, bytes })
    }

    /// Compares the copy with all its checksums. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not what was written, or what it was copied from is damaged, which [`Catalog::check`] tells.
    pub fn check_copy(&self, folder: &Path, disk: &dyn Disk) -> Result<()> {
        let copy = sqlite::open_reader(&folder.join(NEXT))?;
        let (_, wrong) = check::database(&copy)?;
        copy.close().map_err(|(_, error)| sql_error("closing the copy of the catalog", error))?;
        for log in ["-wal", "-shm"] {
            remove(disk, &beside(Path::new(NEXT), log).to_string_lossy())?;
        }
        match wrong.into_iter().next() {
            None => Ok(()),
            Some(what) => Err(Error::Damaged(format!("the copy of the catalog: {what}"))),
        }
    }
}

/// Copies all of it as it is at one moment; how many names are in force then.
fn copy_pages(from: &Connection, to: &mut Connection, go_on: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
    let failed = |error| sql_error("copying the catalog", error);
    let transaction = from.unchecked_transaction().map_err(failed)?;
    let head = Head::read(&transaction)?.unwrap_or_default();
    let backup = Backup::new(from, to).map_err(failed)?;
    loop {
        go_on()?;
        match backup.step(PAGES).map_err(failed)? {
            StepResult::Done => return Ok(head.names),
            StepResult::More => {}
            _ => return Err(Error::Busy("the catalog could not be read to be copied".into())),
        }
    }
}

/// What is known to be bad here is good in a copy that was made before, and was left out of any that was made since.
fn forget_damage(copy: &Connection) -> Result<()> {
    let Some(mut head) = Head::read(copy)? else { return Ok(()) };
    for (pack, _) in damage::all(copy)? {
        damage::forget(copy, &mut head, pack)?;
    }
    head.write(copy)
}

/// Puts the copy in the place of the one before, durable. Whoever calls has made durable all that it speaks of.
///
/// # Errors
/// [`Error::Io`], [`Error::NoSpace`].
pub fn put_in_place(disk: &dyn Disk) -> Result<()> {
    let put = || -> io::Result<()> {
        disk.rename(Path::new(NEXT), Path::new(DATABASE))?;
        disk.sync_folder(Path::new(""))
    };
    put().map_err(|error| write_error(disk, "putting the copy of the catalog in its place", error))
}

fn remove(disk: &dyn Disk, name: &str) -> Result<()> {
    match disk.remove(Path::new(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(write_error(disk, "removing an unfinished copy of the catalog", error))
        }
        _ => Ok(()),
    }
}
