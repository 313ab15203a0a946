//! Which packs there are, and which of them are not durable yet.
//!
//! **Invariant:** a pack is among the unsealed from before its first entry is in the index until it is durable as a
//! whole. So whoever finds an entry first and its pack not among the unsealed afterwards may rely on it, unless the
//! pack was given up.
//!
//! It knows neither blobs nor levels.

mod counters;
mod given_up;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use given_up::GivenUp;

use super::format::{PackId, PackState, VolumeKeys};
use super::group_sync::{GroupSync, SyncPoints};
use super::pack::PackFile;
use super::pack_files::PackFiles;
use super::unsealed::Unsealed;
use crate::disk::Disk;
use crate::{Error, Result};

pub(super) use counters::{PackCounters, pack_bytes};

/// A pack that is not sealed, and who syncs it.
pub(super) type Group = GroupSync<Unsealed>;

/// Whether a pack may be relied on.
#[derive(Debug)]
pub(super) enum Standing {
    /// Not sealed: ask it how far it is durable.
    Unsealed(Arc<Group>),
    /// Given up and gone: nothing in it may be relied on.
    GivenUp,
    /// As a whole.
    Durable,
}

/// The packs of a volume.
#[derive(Debug)]
pub(super) struct PackSet {
    known: RwLock<HashMap<PackId, Arc<PackCounters>>>,
    unsealed: RwLock<HashMap<PackId, Arc<Group>>>,
    given_up: RwLock<GivenUp>,
    files: PackFiles,
    last: AtomicU32,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl PackSet {
    /// The sealed packs found at start, and the highest number that may have been used.
    pub(super) fn new(known: HashMap<PackId, Arc<PackCounters>>, last: PackId) -> Self {
        Self {
            known: RwLock::new(known),
            unsealed: RwLock::default(),
            given_up: RwLock::default(),
            files: PackFiles::default(),
            last: AtomicU32::new(last.number()),
        }
    }

    /// A number that was never used.
    pub(super) fn next_id(&self) -> Result<PackId> {
        let next = |last: u32| last.checked_add(1);
        self.last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map(|last| PackId::new(last.saturating_add(1)))
            .map_err(|_| Error::Busy("the volume has used up its 4294967295 pack numbers".to_owned()))
    }

    /// The highest number given out.
    pub(super) fn last_id(&self) -> PackId {
        PackId::new(self.last.load(Ordering::Relaxed))
    }

    /// Adds a pack before anything in it is entered in the index.
    pub(super) fn add_unsealed(&self, id: PackId, group: Arc<Group>) {
        let counters = group.target().counters.clone();
        // In this order, or it would pass for a sealed pack that holds nothing in between.
        write(&self.unsealed).insert(id, group);
        write(&self.known).insert(id, counters);
    }

    /// It is sealed and durable as a whole.
    pub(super) fn sealed(&self, id: PackId, reader: Arc<PackFile>) {
        self.files.add(id, reader, || true);
        write(&self.unsealed).remove(&id);
    }

    /// Adds a pack that is sealed and durable, before the index points to anything in it.
    pub(super) fn add_sealed(&self, id: PackId, counters: Arc<PackCounters>, reader: Arc<PackFile>) {
        write(&self.known).insert(id, counters);
        self.files.add(id, reader, || true);
    }

    /// Its file goes, and the index does not point to it any more; who reads it.
    pub(super) fn forget_unlinked(&self, id: PackId) -> Weak<PackFile> {
        let forget = || {
            write(&self.known).remove(&id);
        };
        self.files.remove(id, forget).unwrap_or_default()
    }

    /// A file has no name any more. What it occupies counts as used until nobody reads it: see [`PackSet::take_left`].
    pub(super) fn unlinked(&self, bytes: u64, file: Weak<PackFile>) {
        self.files.leave(bytes, file);
    }

    /// The bytes of unlinked packs that nobody reads any more, each counted once.
    pub(super) fn take_left(&self) -> u64 {
        self.files.take_left()
    }

    /// It is not to be relied on and its file is going. The index may have pointed to it until now.
    pub(super) fn give_up(&self, id: PackId) {
        // In this order, or it would pass for durable in between.
        write(&self.given_up).add(id);
        self.forget(id);
    }

    /// Its file is going, and the index never pointed to it.
    pub(super) fn forget(&self, id: PackId) {
        write(&self.unsealed).remove(&id);
        self.files.remove(id, || {
            write(&self.known).remove(&id);
        });
    }

    /// The counters of a pack.
    pub(super) fn counters(&self, id: PackId) -> Option<Arc<PackCounters>> {
        read(&self.known).get(&id).cloned()
    }

    /// How many packs there are.
    pub(super) fn len(&self) -> usize {
        read(&self.known).len()
    }

    /// The numbers of all of them.
    pub(super) fn ids(&self) -> Vec<PackId> {
        read(&self.known).keys().copied().collect()
    }

    /// Bytes of records that the index points to, with their lines in the footers, in all packs.
    pub(super) fn live(&self) -> u64 {
        read(&self.known).values().map(|counters| counters.occupied()).sum()
    }

    /// Every sealed pack and its length.
    pub(super) fn sealed_lens(&self) -> Vec<(PackId, u64)> {
        let known = read(&self.known);
        known.iter().filter_map(|(id, counters)| counters.sealed_len().map(|len| (*id, len))).collect()
    }

    /// Every pack that takes nothing more and of which all that it holds has been entered in the index: those that are
    /// sealed, and those that a start served as they lay.
    pub(super) fn settled(&self) -> Vec<(PackId, Arc<PackCounters>)> {
        let (unsealed, given_up) = (read(&self.unsealed), read(&self.given_up));
        let known = read(&self.known);
        let settled = known.iter().filter(|(id, counters)| {
            !unsealed.contains_key(id) && !given_up.has(**id) && !counters.is_set_aside()
        });
        settled.map(|(id, counters)| (*id, counters.clone())).collect()
    }

    /// Every pack that is not sealed.
    pub(super) fn unsealed(&self) -> Vec<Arc<Group>> {
        read(&self.unsealed).values().cloned().collect()
    }

    /// Whether a pack may be relied on. Asked after its entry was found, never before.
    pub(super) fn standing(&self, id: PackId) -> Standing {
        if let Some(group) = read(&self.unsealed).get(&id) {
            return Standing::Unsealed(group.clone());
        }
        if self.is_given_up(&read(&self.given_up), id) { Standing::GivenUp } else { Standing::Durable }
    }

    /// Of these packs and ends, found in the index before, those that are not durable.
    pub(super) fn not_durable(&self, found: &[(PackId, u64)]) -> SyncPoints {
        let mut points = SyncPoints::default();
        let (unsealed, given_up) = (read(&self.unsealed), read(&self.given_up));
        for (pack, end) in found {
            let waits = unsealed.get(pack).is_some_and(|group| group.synced() < *end);
            if waits || self.is_given_up(&given_up, *pack) {
                points.add(*pack, *end);
            }
        }
        points
    }

    fn is_given_up(&self, given_up: &GivenUp, id: PackId) -> bool {
        given_up.has(id) || (given_up.may_have_had(id) && !read(&self.known).contains_key(&id))
    }

    /// A pack's open file, if that takes no system call.
    pub(super) fn reader_at_hand(&self, id: PackId) -> Option<Arc<PackFile>> {
        if let Some(reader) = self.files.kept(id) {
            return Some(reader);
        }
        let unsealed = read(&self.unsealed).get(&id).map(|group| group.target().reader());
        unsealed.or_else(|| self.files.opened(id))
    }

    /// A pack's open file. [`Error::Missing`] if there is none, by now.
    pub(super) fn reader(&self, disk: &dyn Disk, keys: &VolumeKeys, id: PackId) -> Result<Arc<PackFile>> {
        if let Some(reader) = self.reader_at_hand(id) {
            return Ok(reader);
        }
        // An open pack that could not be sealed at start for lack of space is read under its old name.
        let opened = match PackFile::open(disk, keys, id, PackState::Sealed) {
            Err(Error::Missing) => PackFile::open(disk, keys, id, PackState::Open),
            other => other,
        };
        let is_there = || read(&self.known).contains_key(&id);
        self.files.add(id, Arc::new(opened?), is_there).ok_or(Error::Missing)
    }
}
