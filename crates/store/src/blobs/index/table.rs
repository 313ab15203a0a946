//! One shard's table: open addressing, sorted by key, growing by a quarter.
//!
//! A key's home slot is its share of the key space (`key · capacity / 2^64`), so that homes rise with keys and the
//! whole table can be kept in the order of the keys: a probe ends at the first greater key, and growth is one walk that
//! moves every entry to a later slot. A table that doubles would hold 64 bytes a blob just after it grew, and uniform
//! shards all grow together.
//!
//! **Invariant:** occupied slots rise by key; between an entry's home and its slot no slot is empty.
//!
//! It knows nothing of locks, levels' meaning or files.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Entry, Key, Location, Stored};
use crate::Level;
use crate::blobs::format::{PackId, Place};

/// One blob. `pack` 0 is an empty slot.
#[derive(Debug)]
pub(super) struct Slot {
    key: Key,
    pack: u32,
    offset: u32,
    stored: AtomicU32,
    level: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == 32);

/// Set in `stored` when this process wrote the record or has verified it.
const CHECKED: u32 = 1 << 31;
/// Set in `stored` when a name was found to need the blob.
const MARKED: u32 = 1 << 30;
const FLAGS: u32 = CHECKED | MARKED;

/// Slots that are added behind the last home when it happens that all of them are taken.
const OVERFLOW_MORE: usize = 16;

impl Slot {
    fn empty() -> Self {
        let (stored, level) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { key: Key { high: 0, low: 0 }, pack: 0, offset: 0, stored, level }
    }

    pub(super) fn new(entry: &Entry) -> Self {
        Self {
            key: entry.key,
            pack: entry.location.place.pack.number(),
            offset: entry.location.place.offset,
            stored: AtomicU32::new(entry.location.stored.bits() | if entry.checked { CHECKED } else { 0 }),
            level: AtomicU32::new(entry.level.seconds()),
        }
    }

    fn is_empty(&self) -> bool {
        self.pack == 0
    }

    pub(super) fn level(&self) -> Level {
        Level::from_seconds(self.level.load(Ordering::Relaxed))
    }

    /// Raises the level; needs only the shard's read lock.
    pub(super) fn raise(&self, to: Level) {
        self.level.fetch_max(to.seconds(), Ordering::Relaxed);
    }

    /// Lowers the level; needs the shard's write lock.
    pub(super) fn lower(&mut self, to: Level) {
        *self.level.get_mut() = to.seconds();
    }

    /// Marks the record verified; needs only the shard's read lock.
    pub(super) fn set_checked(&self) {
        self.stored.fetch_or(CHECKED, Ordering::Relaxed);
    }

    /// Marks the blob needed; needs only the shard's read lock.
    pub(super) fn set_marked(&self) {
        self.stored.fetch_or(MARKED, Ordering::Relaxed);
    }

    /// Takes the mark back, and says whether it was there; needs the shard's write lock.
    pub(super) fn take_mark(&mut self) -> bool {
        let stored = self.stored.get_mut();
        let marked = *stored & MARKED != 0;
        *stored &= !MARKED;
        marked
    }

    /// Points it to another place; level and flags stay. Needs the shard's write lock.
    pub(super) fn relocate(&mut self, to: &Location) {
        (self.pack, self.offset) = (to.place.pack.number(), to.place.offset);
        let stored = self.stored.get_mut();
        *stored = *stored & FLAGS | to.stored.bits();
    }

    pub(super) fn location(&self) -> Location {
        let stored = Stored::from_bits(self.stored.load(Ordering::Relaxed) & !FLAGS);
        Location { place: Place { pack: PackId::new(self.pack), offset: self.offset }, stored }
    }

    pub(super) fn entry(&self) -> Entry {
        let checked = self.stored.load(Ordering::Relaxed) & CHECKED != 0;
        Entry { key: self.key, location: self.location(), level: self.level(), checked }
    }
}

/// The entries of one shard.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// `capacity` home slots and a few more, where the last entries may overflow to.
    slots: Vec<Slot>,
    capacity: usize,
    len: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Slot> {
        self.find(key).ok().and_then(|index| self.slots.get(index))
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Slot> {
        let index = self.find(key).ok()?;
        self.slots.get_mut(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter(|slot| !slot.is_empty())
    }

    /// Makes room for so many entries in all. A snapshot has its entries in the order of their keys: put one after the other into a table
    /// that grows meanwhile, all of them would crowd in its first part, and each step over those before it.
    pub(super) fn reserve(&mut self, entries: usize) {
        let capacity = entries.saturating_mul(8) / 7 + 4;
        if entries > self.len && capacity > self.capacity {
            self.resize(capacity);
        }
    }

    /// Puts the entry in, in place of one with the same key if there is one.
    pub(super) fn put(&mut self, entry: &Entry) {
        if let Ok(index) = self.find(entry.key) {
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = Slot::new(entry);
            }
            return;
        }
        if (self.len + 1) * 8 > self.capacity * 7 {
            self.grow();
        }
        if !self.try_insert(entry) {
            self.add_overflow();
            self.try_insert(entry);
        }
        self.len += 1;
    }

    /// Takes the entry out, moving back those that stand behind their home because of it.
    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let index = self.find(key).ok()?;
        let removed = self.slots.get(index)?.entry();
        let mut end = index + 1;
        while self.slots.get(end).is_some_and(|slot| !slot.is_empty() && self.home(slot.key) < end) {
            end += 1;
        }
        if let Some(run) = self.slots.get_mut(index..end) {
            run.rotate_left(1);
            if let Some(last) = run.last_mut() {
                *last = Slot::empty();
            }
        }
        self.len -= 1;
        Some(removed)
    }

    /// Takes out every entry for which `gone` says so.
    pub(super) fn remove_where(&mut self, mut gone: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let removed: Vec<Entry> = self.iter().map(Slot::entry).filter(|entry| gone(entry)).collect();
        for entry in &removed {
            self.remove(entry.key);
        }
        removed
    }

    fn home(&self, key: Key) -> usize {
        let share = u128::from(key.high) * (self.capacity as u128);
        usize::try_from(share >> 64).unwrap_or(0)
    }

    /// The slot that has the key, or else the slot where it belongs.
    fn find(&self, key: Key) -> Result<usize, usize> {
        let mut index = self.home(key);
        loop {
            match self.slots.get(index) {
                Some(slot) if !slot.is_empty() && slot.key <= key => {
                    if slot.key == key {
                        return Ok(index);
                    }
                    index += 1;
                }
                _ => return Err(index),
            }
        }
    }

    /// False if the last slots are all taken.
    fn try_insert(&mut self, entry: &Entry) -> bool {
        let index = match self.find(entry.key) {
            Ok(index) | Err(index) => index,
        };
        let Some(run) = self.slots.get_mut(index..) else { return false };
        let Some(free) = run.iter().position(Slot::is_empty) else { return false };
        let Some(run) = run.get_mut(..=free) else { return false };
        run.rotate_right(1);
        if let Some(first) = run.first_mut() {
            *first = Slot::new(entry);
        }
        true
    }

    fn add_overflow(&mut self) {
        self.slots.reserve_exact(OVERFLOW_MORE);
        self.slots.extend(std::iter::repeat_with(Slot::empty).take(OVERFLOW_MORE));
    }

    fn grow(&mut self) {
        self.resize(self.capacity + (self.capacity / 4).max(4));
    }

    fn resize(&mut self, capacity: usize) {
        let overflow = (capacity / 16 + 4).min(48);
        let mut slots = Vec::new();
        slots.reserve_exact(capacity + overflow);
        let old = std::mem::take(&mut self.slots);
        self.capacity = capacity;
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            let home = self.home(slot.key);
            while slots.len() < home {
                slots.push(Slot::empty());
            }
            slots.push(slot);
        }
        while slots.len() < capacity + overflow {
            slots.push(Slot::empty());
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(key: u64, offset: u32) -> Entry {
        // Half the keys crowd at the top, where entries overflow the last home slots.
        let high = if key.is_multiple_of(2) { u64::MAX - key } else { key << 56 };
        let place = Place { pack: PackId::new(7), offset };
        Entry {
            key: Key { high, low: key },
            location: Location { place, stored: Stored::of(24) },
            level: Level::from_seconds(offset),
            checked: key.is_multiple_of(3),
        }
    }

    fn assert_sound(table: &Table) {
        let mut last = None;
        for (index, slot) in table.slots.iter().enumerate().filter(|(_, slot)| !slot.is_empty()) {
            assert!(last < Some(slot.key), "keys rise");
            last = Some(slot.key);
            let home = table.home(slot.key);
            assert!(home <= index && table.slots[home..index].iter().all(|slot| !slot.is_empty()));
        }
        assert_eq!(table.iter().count(), table.len);
    }

    proptest! {
        #[test]
        fn table_does_what_a_map_does(operations in prop::collection::vec((0u64..200, any::<u32>(), 0u8..3), 0..600)) {
            let mut table = Table::default();
            let mut truth = BTreeMap::new();
            for (key, offset, operation) in operations {
                let entry = entry(key, offset);
                if operation == 0 {
                    prop_assert_eq!(table.remove(entry.key), truth.remove(&entry.key));
                } else {
                    table.put(&entry);
                    truth.insert(entry.key, entry);
                }
            }
            assert_sound(&table);
            prop_assert_eq!(table.iter().map(Slot::entry).collect::<Vec<_>>(), truth.values().copied().collect::<Vec<_>>());
            for (key, entry) in &truth {
                prop_assert_eq!(table.get(*key).map(Slot::entry), Some(*entry));
            }
            let removed = table.remove_where(|entry| entry.key.low.is_multiple_of(2));
            assert_sound(&table);
            prop_assert_eq!(removed.len() + table.len(), truth.len());
        }
    }
}
