//! The passes of a backup: each copies the catalog, and what no earlier one has copied of the packs.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use millpond_store::Clock;
use millpond_store::audit;
use millpond_store::blobs::{Blobs, Mark, Pack, PackCopies, Purpose, Target};
use millpond_store::catalog::{CatalogCopied, put_in_place};
use millpond_store::disk::DiskSpace;

use super::{BackedUp, BackupStep, HearBackup, StoreError, Wanted, check_place, elsewhere};
use crate::cache::Inner;
use crate::{Error, Result};

/// For how long writers may wait in one pass for room that is held: half of what they wait at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often somebody looks whether a pass hangs.
const WATCHED: Duration = Duration::from_millis(500);
/// The pause after a pass that was broken off for that.
const PAUSE: Duration = Duration::from_secs(2);
/// A backup that was broken off so often is given up.
const PASSES_MAX: u32 = 30;
/// What is to be left free where it is copied to.
const SPARE_BYTES: u64 = 4 << 20;

/// A pass that is under way.
struct Pass<'a> {
    blobs: &'a Blobs,
    inner: &'a Inner,
    /// For how long somebody waited for room that is held, and since when that is known.
    waited: Duration,
    looked: Instant,
    is_broken_off: bool,
    /// Somebody else has let go of what it holds, since it hangs.
    given_up: &'a AtomicBool,
    /// Bytes that are to be left free where it is copied to.
    keep_free: u64,
}

/// Lets go of what a pass holds once writers have waited for that and the pass does not notice: it may hang at a disk elsewhere, or
/// at whoever listens to it. Returns when the other end of `ended` is dropped.
fn watch(blobs: &Blobs, given_up: &AtomicBool, ended: &Receiver<()>) {
    let mut waited = Duration::ZERO;
    while ended.recv_timeout(WATCHED).is_err_and(|error| error == RecvTimeoutError::Timeout) {
        if blobs.held_bytes() > 0 && blobs.wanted() > 0 {
            waited += WATCHED;
        }
        if waited >= PATIENCE + WATCHED && !given_up.swap(true, Ordering::SeqCst) {
            tracing::warn!("a backup hangs while writers wait for room that it holds: it is given back");
        }
        if given_up.load(Ordering::SeqCst) {
            // Also what was held between the two.
            blobs.give_held_up();
        }
    }
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
        if self.waited < PATIENCE && !self.given_up.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.is_broken_off = true;
        Err(StoreError::Busy("somebody waits for room that is held".into()))
    }
}

impl Inner {
    /// All of it. `data` is the directory that is copied.
    pub(super) fn copy_volume(
        &self,
        data: &Path,
        wanted: &Wanted,
        purpose: Purpose,
        hear: &mut HearBackup<'_>,
    ) -> Result<BackedUp> {
        let path = &wanted.directory;
        check_place(data, path)?;
        let failed = |error| elsewhere(path, error);
        // What is copied to where blobs lie must not cost any of them.
        let keep_free = || {
            let serves = purpose == Purpose::Backup && are_on_one(data, Target::there(path));
            if serves { self.blobs.keep_free() } else { 0 }
        };
        if wanted.dry_run {
            let target = Target::look(path, purpose, &self.blobs).map_err(failed)?;
            let done = self.survey(target.as_ref(), hear).map_err(failed)?;
            let needed = self.catalog.figures().database_bytes.saturating_add(done.copied_bytes);
            let spare = SPARE_BYTES.saturating_add(keep_free());
            check_room(DiskSpace::of(Target::there(path)), needed, spare).map_err(failed)?;
            return Ok(done);
        }
        let target = Target::open(path, purpose, &self.blobs).map_err(failed)?;
        target.begin().map_err(failed)?;
        let keep_free = keep_free();
        let mut done = BackedUp::default();
        for _ in 0..PASSES_MAX {
            let given_up = AtomicBool::new(false);
            let mut pass = Pass {
                blobs: &self.blobs,
                inner: self,
                waited: Duration::ZERO,
                looked: Instant::now(),
                is_broken_off: false,
                given_up: &given_up,
                keep_free,
            };
            let copied = std::thread::scope(|scope| {
                let (ends, ended) = channel();
                scope.spawn(|| {
                    let ended = ended;
                    watch(&self.blobs, &given_up, &ended);
                });
                let copied = self.copy_once(&mut pass, &target, &mut done, hear);
                drop(ends);
                copied
            });
            match copied {
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
        let spare = SPARE_BYTES.saturating_add(pass.keep_free);
        check_room(disk.space(), needed, spare)?;
        let mut copies = self.blobs.hold_packs()?;
        let taken = Clock::unix_seconds();
        let catalog = self.catalog.copy_to(path, disk, &mut || pass.go_on(copies.held_bytes()));
        let catalog = catalog.inspect_err(|error| self.look_at_catalog(error))?;
        copies.look_out();
        let of_bytes = self.look_at_all(pass, &mut copies, target, done)?;
        check_room(disk.space(), of_bytes, spare)?;
        self.copy_packs(pass, &mut copies, target, (of_bytes, done), hear)?;
        // What was given up in the meantime may have gone before it was copied.
        pass.go_on(0)?;
        // Once nothing is held any more: of many names it takes a while.
        self.catalog.check_copy(path, disk).inspect_err(|error| self.look_at_catalog(error))?;
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

    /// Has the catalog itself looked at, and cured, when its copy is bad: that may be its own fault.
    fn look_at_catalog(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged(_) | StoreError::Sql { .. }) {
            // What is wrong with it is in the log.
            let _ = self.catalog.check();
        }
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
        while let Some(pack) = copies.next_pack() {
            // Once what is held was given up, what is left may be gone, and is no damage.
            pass.go_on(copies.held_bytes())?;
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
    fn survey(&self, target: Option<&Target>, hear: &mut HearBackup<'_>) -> Result<BackedUp, StoreError> {
        let mut done = BackedUp::default();
        let mut copies = self.blobs.hold_packs()?;
        copies.look_at_all();
        done.removed_packs = target.map_or(0, |target| copies.count_to_clear(target));
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

fn go_on(goes_on: bool) -> Result<(), StoreError> {
    if goes_on { Ok(()) } else { Err(StoreError::Busy("the backup was broken off".into())) }
}

/// Whether so many bytes fit, with some to spare.
fn check_room(space: io::Result<DiskSpace>, needed: u64, spare: u64) -> Result<(), StoreError> {
    let space = space.map_err(|error| StoreError::io("asking for the room there", error))?;
    if space.available >= needed.saturating_add(spare) {
        return Ok(());
    }
    let kept = if spare > SPARE_BYTES {
        format!(", of which {} are to be left (keep_free)", spare - SPARE_BYTES)
    } else {
        String::new()
    };
    Err(StoreError::Refused(format!(
        "{needed} bytes more are to be copied, and {} are free there{kept}: make room, or give another directory; what lies there \
         is as it was",
        space.available
    )))
}

/// Whether two directories lie on one file system.
fn are_on_one(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
    matches!((device(one), device(other)), (Ok(one), Ok(other)) if one == other)
}
