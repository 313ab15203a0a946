//! What all handles of one store share: index, packs, space, and the rules by which they change together. All of it is
//! synchronous; who may wait is decided in [`super::packs`].
//!
//! **Invariant:** the index never trades a durable place for one that is not, and never points beyond what was synced
//! of a pack that was given up.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::appending::Appending;
use super::blocking::Turns;
use super::compaction::GivenBack;
use super::damage::OnDamage;
use super::format::{Place, VolumeKeys};
use super::group_sync::SyncPoints;
use super::held::HeldPacks;
use super::index::{Index, Inserted, Key, Location};
use super::pack::Appended;
use super::pack_set::PackSet;
use super::poison::{Poison, is_passing};
use super::scan_levels::BytesByAge;
use super::snapshot::Turn;
use super::space::Space;
use super::unsealed::{Kind, Unsealed};
use crate::disk::Disk;
use crate::{Clock, Digest, Error, Level, Result};

/// What a walk that raises finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// Not there, in the order asked.
    pub missing: Vec<Digest>,
    /// What must be synced before anything that needs these blobs is promised.
    pub unsynced: SyncPoints,
    /// There, but not read since the start: [`super::Blobs::verify`] does that.
    pub unchecked: Vec<Digest>,
}

/// One store.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keys: VolumeKeys,
    pub(super) clock: Arc<Clock>,
    pub(super) index: Index,
    pub(super) packs: PackSet,
    pub(super) held: HeldPacks,
    pub(super) space: Arc<Space>,
    pub(super) poison: Poison,
    pub(super) appending: Mutex<Appending>,
    pub(super) snapshots: Mutex<Turn>,
    /// Held by whoever copies records into packs that nothing points to yet: one at a time, or their targets took more
    /// room than is kept for them.
    pub(super) copying: Mutex<()>,
    /// What was given back before an error: told of with the next step that has none.
    pub(super) untold: Mutex<GivenBack>,
    pub(super) ages: Mutex<Option<(Instant, BytesByAge)>>,
    pub(super) on_damage: OnDamage,
    pub(super) turns: Turns,
    pub(super) durability_off: bool,
    /// What comes in is compressed where that pays.
    pub(super) compresses: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) waterline: AtomicU32,
    pub(super) epoch: AtomicU64,
}

impl Shared {
    /// Whether what comes in is compressed where that pays, as it is set now.
    pub(super) fn compresses(&self) -> bool {
        self.compresses.load(Ordering::Relaxed)
    }

    pub(super) fn waterline(&self) -> Level {
        Level::from_seconds(self.waterline.load(Ordering::SeqCst))
    }

    /// Whether uploads are taken.
    pub(super) fn check_open(&self) -> Result<()> {
        self.poison.check()?;
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Busy("the store is being closed and takes nothing in".to_owned()));
        }
        Ok(())
    }

    /// See [`super::Blobs::missing`].
    pub(super) fn missing(
        &self,
        digests: &[Digest],
        to: Level,
        fresh_from: Level,
        missing: &mut Vec<Digest>,
    ) {
        let mut positions = Vec::new();
        self.index.raise_all(digests, to, fresh_from, self.waterline(), |position, entry| {
            if entry.is_none() {
                positions.push(position);
            }
        });
        missing.extend(in_order(positions, digests).filter(|digest| *digest != Digest::EMPTY));
    }

    /// See [`super::Blobs::raise`].
    pub(super) fn raise(&self, digests: &[Digest], to: Level) -> Raised {
        let (mut missing, mut unchecked) = (Vec::new(), Vec::new());
        let mut found = Vec::with_capacity(digests.len());
        self.index.raise_all(digests, to, to, self.waterline(), |position, entry| match entry {
            None => missing.push(position),
            Some(entry) => {
                found.push((entry.location.place.pack, entry.location.end()));
                if !entry.checked {
                    unchecked.push(position);
                }
            }
        });
        Raised {
            missing: in_order(missing, digests).filter(|digest| *digest != Digest::EMPTY).collect(),
            unsynced: self.packs.not_durable(&found),
            unchecked: in_order(unchecked, digests).collect(),
        }
    }

    /// Enters a record that was just appended to a pack. An error if the pack was given up meanwhile.
    pub(super) fn enter(
        &self,
        digest: &Digest,
        appended: &Appended,
        pack: &Unsealed,
        now: Level,
    ) -> Result<Inserted> {
        let key = self.index.key(digest);
        let stored = appended.end.saturating_sub(appended.place.byte_offset());
        let location = Location { place: appended.place, stored: super::index::Stored::of(stored) };
        let inserted = self.index.insert(key, location, now, self.waterline());
        match inserted {
            Inserted::Kept(_) => return Ok(inserted),
            Inserted::New => {}
            Inserted::Replaced(old) => self.dead(&old),
        }
        pack.counters.add_live(location.stored.bytes());
        // Also a pack that was made while the store was being poisoned, and not seen by the one who did.
        let given_up = pack.is_given_up() || self.poison.check().is_err();
        if given_up && appended.end > pack.synced() {
            if self.index.remove(key, appended.place).is_some() {
                self.dead(&location);
            }
            return Err(self.poison.error("the pack was given up after an earlier fault"));
        }
        Ok(inserted)
    }

    /// The index does not point to this record any more.
    pub(super) fn dead(&self, location: &Location) {
        if let Some(counters) = self.packs.counters(location.place.pack) {
            counters.remove_live(location.stored.bytes());
        }
    }

    /// A pack has become durable as a whole.
    pub(super) fn was_sealed(&self, pack: &Unsealed) {
        let reader = pack.reader();
        // Without these figures it is read at the next start by its footer, and counted as it was written.
        if let Ok(len) = reader.len() {
            pack.counters.set_sealed(len);
        }
        if let Ok(allocated) = reader.allocated() {
            self.space.packs_change(pack.counters.recount(allocated), allocated);
        }
        self.packs.sealed(reader.id(), reader);
    }

    /// A sync failed: what of the pack is not durable leaves the index, before anybody who waits is told.
    pub(super) fn sync_failed(&self, pack: &Unsealed, error: Error) -> Error {
        self.write_failed(&error, true);
        self.give_up(pack);
        if let (Kind::Single(single, _), Error::NoSpace { .. }) = (&pack.kind, &error) {
            let id = pack.id();
            self.packs.give_up(id);
            single.abandon();
            self.space.packs_change(pack.counters.recount(0), 0);
        }
        self.poison.check().err().unwrap_or(error)
    }

    /// A write or a sync failed. Lack of space heals; anything else that is not passing (and whatever befell a sync)
    /// poisons the store.
    pub(super) fn write_failed(&self, error: &Error, in_sync: bool) {
        match error {
            Error::NoSpace { .. } => self.space.was_full(),
            Error::Io { source, .. }
                if (in_sync || !is_passing(source)) && self.poison.set(&error.to_string()) =>
            {
                self.packs.unsealed().iter().for_each(|group| self.give_up(group.target()));
            }
            _ => {}
        }
    }

    /// Takes what a pack holds beyond what is durable out of the index.
    pub(super) fn give_up(&self, pack: &Unsealed) {
        pack.give_up();
        let (id, synced) = (pack.id(), pack.synced());
        let lost = |place: Place| place.pack == id && place.byte_offset() >= synced;
        let removed = match &pack.kind {
            Kind::Mixed(_) => self.index.remove_where(|entry| lost(entry.location.place)),
            Kind::Single(single, key) if lost(single.appended().place) => {
                self.index.remove(*key, single.appended().place).into_iter().collect()
            }
            Kind::Single(..) => Vec::new(),
        };
        removed.iter().for_each(|entry| self.dead(&entry.location));
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The entry of a bad record leaves the index, if it still is this record; then the domain is told.
    pub(super) fn found_bad(&self, key: Key, location: &Location) {
        if self.index.remove(key, location.place).is_none() {
            return;
        }
        self.dead(location);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.on_damage.tell(location.place);
    }

    /// Counts what the index points to in each pack.
    pub(super) fn count_live(&self) {
        self.index.for_each(|entry| {
            if let Some(counters) = self.packs.counters(entry.location.place.pack) {
                counters.add_live(entry.location.stored.bytes());
            }
        });
    }

    pub(super) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digests at these positions, in the order in which they stand.
fn in_order(mut positions: Vec<usize>, digests: &[Digest]) -> impl Iterator<Item = Digest> {
    positions.sort_unstable();
    positions.into_iter().filter_map(|position| digests.get(position).copied())
}
