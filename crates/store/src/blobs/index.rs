//! Where each blob lies and until when it matters: in memory, 1024 shards of 32-byte entries.
//!
//! The key is 128 bits of a hash of the whole digest (function, hash, size), keyed by the volume's secret: collisions
//! cannot be made without it, and another size is another key. Whoever reads a record compares the whole digest all
//! the same.
//!
//! **Invariant:** a level rises under a shard's read lock; it falls, and entries come, go and move, under its write lock;
//! so whoever takes an entry out and compares its level again under the write lock either sees the raise or the one who
//! raised sees the entry gone. Levels fall in two steps of one pass alone ([`Index::cap`] and [`Index::sweep`]), and why
//! that breaks no promise is for the domain to know.
//!
//! It does no I/O, holds one shard's lock at a time, and knows neither packs nor names.

mod table;

use std::hash::Hasher as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use table::{Slot, Table};

use crate::blobs::format::{FooterEntry, Place};
use crate::{Digest, Level};

/// Shards that keys are spread over.
pub(crate) const SHARDS: usize = 1024;

/// Digests that are grouped by shard at a time: what bounds the memory of a batch.
const GROUP_MAX: usize = 16 * 1024;

/// Stands for a digest in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The half that gives the slot.
    pub(crate) high: u64,
    /// The half whose last bits give the shard.
    pub(crate) low: u64,
}

impl Key {
    /// The shard that it lies in.
    pub(crate) fn shard(self) -> usize {
        usize::try_from(self.low % SHARDS as u64).unwrap_or(0)
    }
}

/// The length of a record on disk, in 30 bits: exact (in units of 8 bytes) up to 4 GiB, above that rounded up to a
/// multiple of 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored(u32);

impl Stored {
    const COARSE: u32 = 1 << 29;
    const COARSE_UNIT: u64 = 64 * 1024;

    /// From bytes, rounded up.
    pub(crate) fn of(bytes: u64) -> Self {
        match u32::try_from(bytes.div_ceil(8)) {
            Ok(units) if units < Self::COARSE => Self(units),
            _ => {
                let units = u32::try_from(bytes.div_ceil(Self::COARSE_UNIT)).unwrap_or(u32::MAX);
                Self(units.min(Self::COARSE - 1) | Self::COARSE)
            }
        }
    }

    /// In bytes.
    pub(crate) fn bytes(self) -> u64 {
        let units = u64::from(self.0 & (Self::COARSE - 1));
        units * if self.0 & Self::COARSE == 0 { 8 } else { Self::COARSE_UNIT }
    }

    /// As it stands in an entry and in a snapshot.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// From an entry or a snapshot; bits that mean nothing are dropped.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits & (2 * Self::COARSE - 1))
    }
}

/// Where a record lies and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Pack and offset of the record's header.
    pub(crate) place: Place,
    /// The record's length.
    pub(crate) stored: Stored,
}

impl Location {
    /// Bytes that it takes in its pack, its line in the footer included.
    pub(crate) fn occupied(&self) -> u64 {
        self.stored.bytes() + FooterEntry::LEN as u64
    }

    /// The byte of the pack at which the record ends.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.place.offset) * 8 + self.stored.bytes()
    }
}

/// An entry, copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Of the digest.
    pub(crate) key: Key,
    /// Of the record.
    pub(crate) location: Location,
    /// Until when the blob matters.
    pub(crate) level: Level,
    /// Whether this process wrote the record or has verified it.
    pub(crate) checked: bool,
}

/// What became of a record that was to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Nothing was there.
    New,
    /// What was there lay below the waterline; its bytes are dead.
    Replaced(Location),
    /// The blob was there already and was raised; the new record's bytes are dead.
    Kept(Location),
}

/// Aligned so that two shards' locks do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(RwLock<Table>);

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Shard; SHARDS]>,
    hasher: SipHasher24,
}

impl Index {
    /// Empty, with keys by this secret.
    pub(crate) fn new(secret: &[u8; 16]) -> Self {
        let shards = Box::new(std::array::from_fn(|_| Shard::default()));
        Self { shards, hasher: SipHasher24::new_with_key(secret) }
    }

    /// The key of a digest.
    pub(crate) fn key(&self, digest: &Digest) -> Key {
        let mut bytes = [0; 41];
        let [function, rest @ ..] = &mut bytes;
        *function = digest.function() as u8;
        let (hash, size) = rest.split_at_mut(32);
        hash.copy_from_slice(digest.hash());
        size.copy_from_slice(&digest.size().to_le_bytes());
        let mut hasher = self.hasher;
        hasher.write(&bytes);
        let hash = hasher.finish128();
        Key { high: hash.h1, low: hash.h2 }
    }

    fn shard(&self, key: Key) -> &Shard {
        let [first, ..] = &*self.shards;
        self.shards.get(key.shard()).unwrap_or(first)
    }

    /// The entry, if its level is not below the waterline.
    pub(crate) fn get(&self, key: Key, waterline: Level) -> Option<Entry> {
        let table = self.shard(key).read();
        table.get(key).map(Slot::entry).filter(|entry| entry.level >= waterline)
    }

    /// Raises the blob and gives its entry (with the level from before), or `None` if it is not there.
    pub(crate) fn raise(&self, key: Key, to: Level, waterline: Level) -> Option<Entry> {
        raise_in(&self.shard(key).read(), key, to, to, waterline)
    }

    /// Raises what is older than `fresh_from` and tells `visit` for each digest, by its position, whether it is there.
    /// One lock a shard and group; `visit` runs under it and must take no lock.
    pub(crate) fn raise_all(
        &self,
        digests: &[Digest],
        to: Level,
        fresh_from: Level,
        waterline: Level,
        mut visit: impl FnMut(usize, Option<&Entry>),
    ) {
        let mut start = 0;
        for group in digests.chunks(GROUP_MAX) {
            let ordered = self.by_shard(group);
            for run in ordered.chunk_by(|(one, _), (other, _)| one.shard() == other.shard()) {
                let Some((first, _)) = run.first() else { continue };
                let table = self.shard(*first).read();
                for (key, position) in run {
                    let entry = raise_in(&table, *key, to, fresh_from, waterline);
                    visit(start + *position as usize, entry.as_ref());
                }
            }
            start += group.len();
        }
    }

    /// Keys and positions, ordered by shard (a counting sort: comparing would cost as much as looking up).
    fn by_shard(&self, digests: &[Digest]) -> Vec<(Key, u32)> {
        let keys: Vec<(Key, u32)> = digests.iter().map(|digest| self.key(digest)).zip(0..).collect();
        if keys.len() < 16 {
            return keys;
        }
        let mut next = [0_u32; SHARDS];
        for (key, _) in &keys {
            if let Some(count) = next.get_mut(key.shard()) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut next {
            sum += std::mem::replace(count, sum);
        }
        let mut ordered = keys.clone();
        for key in keys {
            let Some(position) = next.get_mut(key.0.shard()) else { continue };
            if let Some(slot) = ordered.get_mut(*position as usize) {
                *slot = key;
            }
            *position += 1;
        }
        ordered
    }

    /// Enters a record that this process wrote. A blob that is there keeps its old place, whatever it is: that place
    /// may be durable already and this one is not.
    pub(crate) fn insert(&self, key: Key, location: Location, level: Level, waterline: Level) -> Inserted {
        let mut table = self.shard(key).write();
        let old = table.get(key).map(Slot::entry);
        if let Some(old) = old.filter(|old| old.level >= waterline) {
            raise_in(&table, key, level, level, waterline);
            return Inserted::Kept(old.location);
        }
        table.put(&Entry { key, location, level, checked: true });
        old.map_or(Inserted::New, |old| Inserted::Replaced(old.location))
    }

    /// Makes room for about so many entries in all.
    pub(crate) fn reserve(&self, entries: u64) {
        let each = usize::try_from(entries / SHARDS as u64).unwrap_or(0);
        // Keys fall evenly, but not quite: four times what they stray by.
        let margin = 4 * each.isqrt();
        self.shards.iter().for_each(|shard| shard.write().reserve(each + margin));
    }

    /// Enters a record found at start: of two the one in the pack with the higher id is taken, with the higher level
    /// of the two.
    pub(crate) fn restore(&self, key: Key, location: Location, level: Level) {
        let mut table = self.shard(key).write();
        if let Some(slot) = table.get(key) {
            slot.raise(level);
            let old = slot.entry();
            if old.location.place.pack < location.place.pack {
                table.put(&Entry { key, location, level: old.level, checked: false });
            }
            return;
        }
        table.put(&Entry { key, location, level, checked: false });
    }

    /// Takes the entry out if it still has this place.
    pub(crate) fn remove(&self, key: Key, place: Place) -> Option<Entry> {
        let mut table = self.shard(key).write();
        table.get(key).filter(|slot| slot.location().place == place)?;
        table.remove(key)
    }

    /// Takes out what lies below `waterline`, shard by shard, and shows what was taken out after the lock.
    pub(crate) fn drop_below(&self, waterline: Level, mut dropped: impl FnMut(&Entry)) {
        for shard in self.shards.iter() {
            let removed = shard.write().remove_where(|entry| entry.level < waterline);
            removed.iter().for_each(&mut dropped);
        }
    }

    /// Points the entry to another copy of its record, if it still has this place; level and marks stay.
    pub(crate) fn relocate(&self, key: Key, from: Place, to: Location) -> bool {
        let mut table = self.shard(key).write();
        let slot = table.get_mut(key).filter(|slot| slot.location().place == from);
        slot.map(|slot| slot.relocate(&to)).is_some()
    }

    /// Takes the entry out if it still has this place and lies below the waterline.
    pub(crate) fn remove_below(&self, key: Key, place: Place, waterline: Level) -> bool {
        let mut table = self.shard(key).write();
        let gone = table
            .get(key)
            .map(Slot::entry)
            .is_some_and(|entry| entry.location.place == place && entry.level < waterline);
        gone && table.remove(key).is_some()
    }

    /// Takes out all entries for which `gone` says so; it runs under a shard's lock and must take no lock.
    pub(crate) fn remove_where(&self, mut gone: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        self.shards.iter().flat_map(|shard| shard.write().remove_where(&mut gone)).collect()
    }

    /// Marks the record as verified if the entry still has this place.
    pub(crate) fn set_checked(&self, key: Key, place: Place) {
        let table = self.shard(key).read();
        if let Some(slot) = table.get(key).filter(|slot| slot.location().place == place) {
            slot.set_checked();
        }
    }

    /// Lowers every level above `to` to it, and takes all marks back.
    pub(crate) fn cap(&self, to: Level) {
        for shard in self.shards.iter() {
            shard.write().iter_mut().for_each(|slot| {
                slot.take_mark();
                if slot.level() > to {
                    slot.lower(to);
                }
            });
        }
    }

    /// Marks these blobs, as far as they are there.
    pub(crate) fn mark(&self, digests: &[Digest]) {
        for group in digests.chunks(GROUP_MAX) {
            let ordered = self.by_shard(group);
            for run in ordered.chunk_by(|(one, _), (other, _)| one.shard() == other.shard()) {
                let Some((first, _)) = run.first() else { continue };
                let table = self.shard(*first).read();
                run.iter().filter_map(|(key, _)| table.get(*key)).for_each(Slot::set_marked);
            }
        }
    }

    /// Shows every entry without a mark, with its level from before, and lowers those for which `falls` says so to zero;
    /// takes all marks back. It runs under a shard's lock and must take no lock.
    pub(crate) fn sweep(&self, mut falls: impl FnMut(&Entry) -> bool) {
        for shard in self.shards.iter() {
            shard.write().iter_mut().for_each(|slot| {
                if !slot.take_mark() && falls(&slot.entry()) {
                    slot.lower(Level::ZERO);
                }
            });
        }
    }

    /// Raises every level below `to`.
    pub(crate) fn raise_every(&self, to: Level) {
        for shard in self.shards.iter() {
            shard.read().iter().for_each(|slot| slot.raise(to));
        }
    }

    /// Shows every entry, copied out shard by shard: no lock is held while `visit` runs.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Entry)) {
        let mut copy = Vec::new();
        for shard in self.shards.iter() {
            copy.extend(shard.read().iter().map(Slot::entry));
            copy.drain(..).for_each(|entry| visit(&entry));
        }
    }

    /// Shows every entry by shard and, within one, by rising key. No lock is held while `visit` runs.
    pub(crate) fn for_each_by_shard(&self, mut visit: impl FnMut(usize, &Entry)) {
        let mut copy = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            copy.extend(shard.read().iter().map(Slot::entry));
            copy.drain(..).for_each(|entry| visit(number, &entry));
        }
    }

    /// How many blobs there are, those below the waterline included.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Bytes of memory in all.
    pub(crate) fn memory_bytes(&self) -> usize {
        let heap: usize = self.shards.iter().map(|shard| shard.read().heap_bytes()).sum();
        heap + size_of::<[Shard; SHARDS]>()
    }
}

/// Raises under the read lock that `table` comes from. What is fresh is only read, so that its cache line stays clean.
fn raise_in(table: &Table, key: Key, to: Level, fresh_from: Level, waterline: Level) -> Option<Entry> {
    let slot = table.get(key)?;
    let entry = slot.entry();
    if entry.level < waterline {
        return None;
    }
    if entry.level < fresh_from {
        slot.raise(to);
    }
    Some(entry)
}

#[cfg(test)]
mod tests;
