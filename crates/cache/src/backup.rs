//! A backup: the whole volume copied to another directory while it is served, in an order that is the promise.
//!
//! Packs are held; the catalog is copied, as it is at one moment; what is open is sealed, and the packs that lie there are
//! looked out; each of them is copied, unless an earlier backup has it; then the copy of the catalog takes its place, by a
//! rename; then packs go from the backup that the volume has no more. Killed at any moment, the directory is the earlier
//! backup, with packs beside it that the next one needs, or the new one, with packs that nothing needs.
//!
//! What is held is the files of packs that are still to be copied, and nothing else: neither the waterline nor letting go (see
//! `blobs/backup` in the store). On a volume that is full, whoever pushes waits for that room; so the pass ends once they have
//! waited for [`pass::PATIENCE`] in all, lets all of it go, and another begins with a new copy of the catalog. What was copied stays
//! copied, so passes become short. Pushes find room in between, and are refused for no backup.

mod pass;

use std::path::{Path, PathBuf};

use millpond_store::blobs::{BadRecord, Mark, Purpose};

use crate::cache::Inner;
use crate::start::Begun;
use crate::{Admin, AuditKeep, Cache, CacheOptions, Error, OpenError, Permit, Result};

type StoreError = millpond_store::Error;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where to, as an absolute path.
    pub directory: PathBuf,
    /// Nothing is copied: only told what would be.
    pub dry_run: bool,
}

/// What a backup tells of as it goes.
#[derive(Clone, Debug)]
pub enum BackupStep {
    /// How far it is.
    Progress {
        /// Packs that are there by now, and those that there are to be.
        packs: u64,
        /// See `packs`.
        of_packs: u64,
        /// Bytes that were copied in this pass, and those that there are to be copied.
        bytes: u64,
        /// See `bytes`.
        of_bytes: u64,
    },
    /// Somebody waited for room that was held: it begins anew with what is left.
    Again,
    /// A record that could not be copied.
    Bad(BadRecord),
    /// Something else that is wrong with the volume: a sentence.
    Damaged(String),
}

/// What a backup came to, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// The volume that was copied, in hexadecimal digits.
    pub volume: String,
    /// When the catalog was copied, in Unix seconds.
    pub taken: u64,
    /// When the earlier backup was taken that it takes the place of; 0 if there was none.
    pub earlier: u64,
    /// Names in it.
    pub names: u64,
    /// Packs in it, and their bytes.
    pub packs: u64,
    /// See `packs`.
    pub bytes: u64,
    /// Packs that were copied, and their bytes; the others were there.
    pub copied_packs: u64,
    /// See `copied_packs`.
    pub copied_bytes: u64,
    /// Packs of the earlier backup that went.
    pub removed_packs: u64,
    /// Passes that were broken off, since somebody waited for room.
    pub broken_off: u64,
    /// Records that could not be copied.
    pub bad: u64,
    /// What else is wrong with the volume.
    pub damaged: u64,
}

/// Hears how a backup goes on; false ends it.
pub type HearBackup<'a> = dyn FnMut(BackupStep) -> bool + Send + 'a;

impl Cache {
    /// Backs the volume up beside serving, one at a time. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if that directory is not to be written to; [`Error::Elsewhere`] if it cannot be, or is full;
    /// [`Error::Busy`] while another one is under way, while the cache is being closed, when `hear` ended it, or when more is
    /// pushed than can be copied.
    pub fn back_up(
        &self,
        _permit: &Permit<Admin>,
        wanted: &Wanted,
        hear: &mut HearBackup<'_>,
    ) -> Result<BackedUp> {
        self.inner.copy_volume(&self.inner.data, wanted, Purpose::Backup, hear)
    }

    /// Backs up a data directory that nobody serves; or makes a data directory of a backup, as `purpose` has it.
    async fn copy_unserved(
        options: CacheOptions,
        wanted: Wanted,
        purpose: Purpose,
        mut hear: impl FnMut(BackupStep) -> bool + Send + 'static,
    ) -> Result<Result<BackedUp>, OpenError> {
        let data = options.data.clone();
        let options = CacheOptions { audit: AuditKeep::Off, ..options };
        let (begun, copy) = Begun::open_to_look(options).await?;
        let back_up = move || {
            if let Err(error) = check_source(&begun.inner, &data, purpose) {
                return (begun, Err(error));
            }
            let done = begun.inner.copy_volume(&data, &wanted, purpose, &mut hear);
            (begun, done)
        };
        let done = tokio::task::spawn_blocking(back_up).await;
        let (_begun, done) = done.map_err(|error| OpenError::Other(error.into()))?;
        drop(copy);
        Ok(done)
    }

    /// As [`Cache::back_up`], of a data directory that nobody serves, which stays as it is.
    pub async fn back_up_unserved(
        options: CacheOptions,
        wanted: Wanted,
        hear: impl FnMut(BackupStep) -> bool + Send + 'static,
    ) -> Result<Result<BackedUp>, OpenError> {
        Self::copy_unserved(options, wanted, Purpose::Backup, hear).await
    }

    /// Makes a data directory of a backup, which stays as it is: the one that `wanted` names.
    pub async fn restore_volume(
        options: CacheOptions,
        wanted: Wanted,
        hear: impl FnMut(BackupStep) -> bool + Send + 'static,
    ) -> Result<Result<BackedUp>, OpenError> {
        Self::copy_unserved(options, wanted, Purpose::Restoration, hear).await
    }
}

/// What is not whole is no source, and what is restored is a backup.
fn check_source(inner: &Inner, data: &Path, purpose: Purpose) -> Result<()> {
    let shown = data.display();
    match Mark::read(&*inner.disk).map_err(|error| elsewhere(data, error))? {
        Some(mark) if !mark.is_whole() => {
            Err(Error::Invalid(format!("{shown} is not whole: it was never finished")))
        }
        None if purpose == Purpose::Restoration => Err(Error::Invalid(format!(
            "{shown} is no backup: it is a data directory, or was served since it was a backup"
        ))),
        _ => Ok(()),
    }
}

/// Neither of the two directories may be in the other.
fn check_place(data: &Path, path: &Path) -> Result<()> {
    if !path.is_absolute() {
        return Err(Error::Invalid("the directory must be an absolute path".into()));
    }
    let (data, there) = (resolved(data), resolved(path));
    if there.starts_with(&data) || data.starts_with(&there) {
        let sentence = format!("{} is the data directory, or in it, or has it in it", path.display());
        return Err(Error::Invalid(format!("{sentence}: give another directory, best on another disk")));
    }
    Ok(())
}

/// Without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    for place in path.ancestors() {
        if let Ok(found) = place.canonicalize() {
            return path.strip_prefix(place).map_or_else(|_| found.clone(), |rest| found.join(rest));
        }
    }
    path.to_owned()
}

/// An error about the directory, which the operator chose.
pub(crate) fn elsewhere(path: &Path, error: StoreError) -> Error {
    let shown = path.display();
    match error {
        StoreError::Refused(why) => Error::Invalid(format!("{shown}: {why}")),
        StoreError::InUse { pid } => {
            let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            Error::Invalid(format!("{shown} is in use by {by}: end that first, or give another directory"))
        }
        StoreError::NotWritable(cause) => Error::Elsewhere(format!("{shown} cannot be written: {cause}")),
        StoreError::NoSpace { .. } => Error::Elsewhere(format!(
            "{shown} is full: make room there and back up again, which goes on from here; the earlier backup is as it was"
        )),
        StoreError::Io { doing, source } => Error::Elsewhere(format!("{shown}: {doing}: {source}")),
        error => error.into(),
    }
}
