//! Which packs there are, which of them are not durable yet, and their open files.
//!
//! **Invariant:** a pack is among the unsealed from before its first entry is in the index until it is durable as a
//! whole. So whoever finds an entry first and its pack not among the unsealed afterwards may rely on it, unless the
//! pack was given up.
//!
//! It knows neither blobs nor levels.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quick_cache::sync::Cache;

use super::format::{PackId, PackState, VolumeKeys};
use super::group_sync::{GroupSync, SyncPoints};
use super::pack::PackFile;
use super::unsealed::Unsealed;
use crate::disk::Disk;
use crate::{Error, Result};

/// Packs that are kept open for reading: singles may be many, descriptors are few.
const OPEN_MAX: usize = 1024;

/// What is known of a pack besides its records.
#[derive(Debug, Default)]
pub(super) struct PackCounters {
    /// The length of the sealed file, 0 while it is not sealed.
    sealed_len: AtomicU64,
    /// Bytes of records that the index points to, with their lines in the footer.
    live: AtomicU64,
    /// Bytes that the books of space have for it.
    counted: AtomicU64,
}

impl PackCounters {
    /// Of a pack found sealed at start.
    pub(super) fn sealed(len: u64, allocated: u64) -> Self {
        let counters = Self::default();
        counters.set_sealed(len);
        counters.recount(allocated);
        counters
    }

    /// The length of the sealed file; `None` while it is not sealed.
    pub(super) fn sealed_len(&self) -> Option<u64> {
        Some(self.sealed_len.load(Ordering::Acquire)).filter(|len| *len > 0)
    }

    /// It is sealed, with this length.
    pub(super) fn set_sealed(&self, len: u64) {
        self.sealed_len.store(len, Ordering::Release);
    }

    /// Bytes of records that the index points to.
    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The index points to a record more.
    pub(super) fn add_live(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The index points to a record less.
    pub(super) fn remove_live(&self, bytes: u64) {
        let less = |live: u64| Some(live.saturating_sub(bytes));
        let _ = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// So many bytes more are counted for it.
    pub(super) fn add_counted(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes that are counted for it.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// So many bytes are counted for it; returns what were before.
    pub(super) fn recount(&self, bytes: u64) -> u64 {
        self.counted.swap(bytes, Ordering::Relaxed)
    }
}

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
    given_up: RwLock<HashSet<PackId>>,
    readers: Cache<PackId, Arc<PackFile>>,
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
            readers: Cache::new(OPEN_MAX),
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
        write(&self.known).insert(id, group.target().counters.clone());
        write(&self.unsealed).insert(id, group);
    }

    /// It is sealed and durable as a whole.
    pub(super) fn sealed(&self, id: PackId, reader: Arc<PackFile>) {
        self.readers.insert(id, reader);
        write(&self.unsealed).remove(&id);
    }

    /// It is not to be relied on and its file is going. The index may have pointed to it until now.
    pub(super) fn give_up(&self, id: PackId) {
        // In this order, or it would pass for durable in between.
        write(&self.given_up).insert(id);
        self.forget(id);
    }

    /// Its file is going, and the index never pointed to it.
    pub(super) fn forget(&self, id: PackId) {
        write(&self.unsealed).remove(&id);
        write(&self.known).remove(&id);
        self.readers.remove(&id);
    }

    /// The counters of a pack.
    pub(super) fn counters(&self, id: PackId) -> Option<Arc<PackCounters>> {
        read(&self.known).get(&id).cloned()
    }

    /// How many packs there are.
    pub(super) fn len(&self) -> usize {
        read(&self.known).len()
    }

    /// Bytes of records that the index points to, in all packs.
    pub(super) fn live(&self) -> u64 {
        read(&self.known).values().map(|counters| counters.live()).sum()
    }

    /// Every sealed pack and its length.
    pub(super) fn sealed_lens(&self) -> Vec<(PackId, u64)> {
        let known = read(&self.known);
        known.iter().filter_map(|(id, counters)| counters.sealed_len().map(|len| (*id, len))).collect()
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
        if read(&self.given_up).contains(&id) { Standing::GivenUp } else { Standing::Durable }
    }

    /// Of these packs and ends, found in the index before, those that are not durable.
    pub(super) fn not_durable(&self, found: &[(PackId, u64)]) -> SyncPoints {
        let mut points = SyncPoints::default();
        let (unsealed, given_up) = (read(&self.unsealed), read(&self.given_up));
        for (pack, end) in found {
            let waits = unsealed.get(pack).is_some_and(|group| group.synced() < *end);
            if waits || given_up.contains(pack) {
                points.add(*pack, *end);
            }
        }
        points
    }

    /// A pack's open file, if that takes no system call.
    pub(super) fn reader_at_hand(&self, id: PackId) -> Option<Arc<PackFile>> {
        if let Some(reader) = self.readers.get(&id) {
            return Some(reader);
        }
        read(&self.unsealed).get(&id).map(|group| group.target().reader())
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
        let reader = Arc::new(opened?);
        self.readers.insert(id, reader.clone());
        Ok(reader)
    }
}
