//! A backup: the whole volume copied to another directory while it is served, in an order that is the promise.
//!
//! Packs are held; the catalog is copied, as it is at one moment; what is open is sealed, and the packs that lie there are
//! looked out; each of them is copied, unless an earlier backup has it; then the copy of the catalog takes its place, by a
//! rename; then packs go from the backup that the volume has no more. Killed at any moment, the directory is the earlier
//! backup, with packs beside it that the next one needs, or the new one, with packs that nothing needs.
//!
//! What is held is the files of packs that are still to be copied, and nothing else: neither the waterline nor letting go (see
//! `blobs/backup` in the store). On a volume that is full, whoever pushes waits for that room; so the pass ends once they have
//! waited for [`PATIENCE`] in all, lets all of it go, and another begins with a new copy of the catalog. What was copied stays
//! copied, so passes become short. Pushes find room in between, and are refused for no backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millpond_store::Clock;
use millpond_store::audit;
use millpond_store::blobs::{BadRecord, Blobs, Mark, Pack, PackCopies, Purpose, Target};
use millpond_store::catalog::{CatalogCopied, put_in_place};

use crate::cache::Inner;
use crate::start::Begun;
use crate::{Admin, AuditKeep, Cache, CacheOptions, Error, OpenError, Permit, Result};

type StoreError = millpond_store::Error;

/// For how long writers may wait in one pass for room that is held: half of what they wait at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a pass that was broken off for that.
const PAUSE: Duration = Duration::from_secs(2);
/// A backup that was broken off so often is given up.
const PASSES_MAX: u32 = 30;
/// What is to be left free where it is copied to.
const SPARE_BYTES: u64 = 4 << 20;

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

/// A pass that is under way.
struct Pass<'a> {
    blobs: &'a Blobs,
    inner: &'a Inner,
    /// For how long somebody waited for room that is held, and since when that is known.
    waited: Duration,
    looked: Instant,
    is_broken_off: bool,
}

impl Pass<'_> {
    /// Whether it may go on.
    fn go_on(&mut self, held: u64) -> Result<(), StoreError> {
        if self.inner.gate.is_closed() {
            return Err(StoreError::Busy("the cache is being closed".into()));
        }
        let since = self.looked.elapsed();
        self.looked = Instant::now();
        if held > 0 && self.blobs.wanted() > 0 {
            self.waited += since;
        }
        if self.waited < PATIENCE {
            return Ok(());
        }
        self.is_broken_off = true;
        Err(StoreError::Busy("somebody waits for room that is held".into()))
    }
}

impl Inner {
    /// All of it. `data` is the directory that is copied.
    fn copy_volume(
        &self,
        data: &Path,
        wanted: &Wanted,
        purpose: Purpose,
        hear: &mut HearBackup<'_>,
    ) -> Result<BackedUp> {
        let path = &wanted.directory;
        check_place(data, path)?;
        let failed = |error| elsewhere(path, error);
        let there = !wanted.dry_run || Target::is_marked(path);
        let target = if there {
            Some(Target::open(path, purpose, &self.blobs).map_err(failed)?)
        } else {
            Target::check_contents(path).map_err(failed)?;
            None
        };
        let mut done = BackedUp::default();
        if wanted.dry_run {
            return self.survey(target.as_ref(), done, hear).map_err(|error| elsewhere(path, error));
        }
        let Some(target) = target else { return Ok(done) };
        target.begin().map_err(failed)?;
        for _ in 0..PASSES_MAX {
            let mut pass = Pass {
                blobs: &self.blobs,
                inner: self,
                waited: Duration::ZERO,
                looked: Instant::now(),
                is_broken_off: false,
            };
            match self.copy_once(&mut pass, &target, &mut done, hear) {
                Err(_) if pass.is_broken_off => {
                    done.broken_off += 1;
                    go_on(hear(BackupStep::Again)).map_err(failed)?;
                    std::thread::sleep(PAUSE);
                }
                other => return other.map(|()| done).map_err(failed),
            }
        }
        Err(Error::Busy(format!(
            "more is pushed than can be copied there: {PASSES_MAX} times somebody had to wait for room; back up when less is \
             pushed, or to a faster disk. What was copied stays, and the earlier backup is as it was"
        )))
    }

    fn copy_once(
        &self,
        pass: &mut Pass<'_>,
        target: &Target,
        done: &mut BackedUp,
        hear: &mut HearBackup<'_>,
    ) -> Result<(), StoreError> {
        let (path, disk) = (target.path(), target.disk());
        let needed = self.catalog.figures().database_bytes;
        check_room(disk, needed)?;
        let mut copies = self.blobs.hold_packs()?;
        let taken = Clock::unix_seconds();
        let catalog = self.catalog.copy_to(path, disk, &mut || pass.go_on(copies.held_bytes()))?;
        copies.look_out();
        self.catalog.check_copy(path, disk)?;
        let of_bytes = self.look_at_all(pass, &mut copies, target, done)?;
        check_room(disk, of_bytes)?;
        self.copy_packs(pass, &mut copies, target, (of_bytes, done), hear)?;
        target.sync_packs()?;
        audit::copy(&*self.disk, disk)?;
        put_in_place(disk)?;
        let CatalogCopied { names, .. } = catalog;
        let mark = target.new_mark().whole(taken, names, done.bytes);
        target.finish(&mark)?;
        (done.removed_packs, _) = copies.clear(target)?;
        (done.taken, done.names, done.volume) = (taken, names, mark.volume);
        done.earlier = target.mark().map_or(0, |mark| mark.taken);
        Ok(())
    }

    /// Lets those go that are there already; the bytes of the others.
    fn look_at_all(
        &self,
        pass: &mut Pass<'_>,
        copies: &mut PackCopies,
        target: &Target,
        done: &mut BackedUp,
    ) -> Result<u64, StoreError> {
        let all: Vec<Pack> = copies.left().collect();
        (done.packs, done.bytes) = (0, 0);
        let mut to_copy = 0;
        for pack in all {
            pass.go_on(copies.held_bytes())?;
            let (is_there, len) = copies.survey(pack, Some(target))?;
            if is_there {
                done.packs += 1;
                done.bytes += len;
                copies.is_through(pack);
            } else {
                to_copy += len;
            }
        }
        Ok(to_copy)
    }

    fn copy_packs(
        &self,
        pass: &mut Pass<'_>,
        copies: &mut PackCopies,
        target: &Target,
        (of_bytes, done): (u64, &mut BackedUp),
        hear: &mut HearBackup<'_>,
    ) -> Result<(), StoreError> {
        let (of_packs, mut bytes) = (copies.count() as u64, 0);
        while let Some(pack) = copies.next() {
            let packs = done.packs;
            let copied = copies.copy(pack, target, &mut |more| {
                bytes += more;
                pass.go_on(copies.held_bytes())?;
                go_on(hear(BackupStep::Progress { packs, of_packs, bytes, of_bytes: of_bytes.max(bytes) }))
            })?;
            copies.is_through(pack);
            done.bad += copied.bad.len() as u64;
            for bad in copied.bad {
                go_on(hear(BackupStep::Bad(bad)))?;
            }
            if let Some(sentence) = copied.damaged {
                done.damaged += 1;
                go_on(hear(BackupStep::Damaged(sentence)))?;
            }
            if copied.bytes > 0 {
                done.packs += 1;
                done.bytes += copied.bytes;
                done.copied_packs += u64::from(!copied.is_same);
                done.copied_bytes += if copied.is_same { 0 } else { copied.bytes };
            }
        }
        Ok(())
    }

    /// What would be copied, as things are.
    fn survey(
        &self,
        target: Option<&Target>,
        mut done: BackedUp,
        hear: &mut HearBackup<'_>,
    ) -> Result<BackedUp, StoreError> {
        let mut copies = self.blobs.hold_packs()?;
        copies.look_at_all();
        let (all, of_packs): (BTreeSet<Pack>, _) = (copies.left().collect(), copies.count() as u64);
        for pack in all {
            let (is_there, len) = copies.survey(pack, target)?;
            copies.is_through(pack);
            done.packs += 1;
            done.bytes += len;
            done.copied_packs += u64::from(!is_there);
            done.copied_bytes += if is_there { 0 } else { len };
            let (packs, bytes) = (done.packs, done.bytes);
            go_on(hear(BackupStep::Progress { packs, of_packs, bytes, of_bytes: bytes }))?;
        }
        done.names = self.catalog.figures().names;
        done.volume = Mark::begun(Purpose::Backup, &self.blobs.volume_id()).volume;
        done.earlier = target.and_then(Target::mark).map_or(0, |mark| mark.taken);
        Ok(done)
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

fn go_on(goes_on: bool) -> Result<(), StoreError> {
    if goes_on { Ok(()) } else { Err(StoreError::Busy("the backup was broken off".into())) }
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

fn check_room(disk: &dyn millpond_store::disk::Disk, needed: u64) -> Result<(), StoreError> {
    let space = disk.space().map_err(|error| StoreError::io("asking for the room there", error))?;
    if space.available >= needed.saturating_add(SPARE_BYTES) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "{needed} bytes more are to be copied, and {} are free there: make room, or give another directory; what lies there \
         is as it was",
        space.available
    )))
}

/// An error about the directory, which the operator chose.
pub(crate) fn elsewhere(path: &Path, error: StoreError) -> Error {
    let shown = path.display();
    match error {
        StoreError::Refused(why) => Error::Invalid(format!("{shown}: {why}")),
        StoreError::InUse { pid } => {
            let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            Error::Invalid(format!("{shown} is in use by {by}"))
        }
        StoreError::NotWritable(cause) => Error::Elsewhere(format!("{shown} cannot be written: {cause}")),
        StoreError::NoSpace { .. } => Error::Elsewhere(format!(
            "{shown} is full: make room there and back up again, which goes on from here; the earlier backup is as it was"
        )),
        StoreError::Io { doing, source } => Error::Elsewhere(format!("{shown}: {doing}: {source}")),
        error => error.into(),
    }
}
