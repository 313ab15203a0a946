//! Names in memory, also those known to have no value.
//!
//! **Invariant:** an entry is what was last committed for its name. The writer, and it alone, changes entries, right
//! after COMMIT, and raises the shard's generation with it; a reader fills an entry only if the generation is still
//! what it was before it read the database, so what it read cannot be older than a commit that it did not see.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::unsync;

use super::names::Found;
use super::{Name, Value};

const SHARDS: usize = 64;
/// About what a name and its value hold in memory, to size the tables at the start.
const BYTES_PER_ENTRY: u64 = 1024;

/// Both values of a name, as last committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) in_force: Option<Arc<Value>>,
    pub(super) pending: Option<Arc<Value>>,
}

impl From<Found> for Entry {
    fn from(found: Found) -> Self {
        Self { in_force: found.in_force.map(Arc::new), pending: found.pending.map(Arc::new) }
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Name, Entry> for Weight {
    fn weight(&self, name: &Name, entry: &Entry) -> u64 {
        let value = |value: &Option<Arc<Value>>| value.as_ref().map_or(0, |value| value.weight());
        name.weight() + size_of::<Entry>() as u64 + value(&entry.in_force) + value(&entry.pending)
    }
}

#[derive(Debug)]
struct Shard {
    generation: u64,
    entries: unsync::Cache<Name, Entry, Weight>,
}

/// The cache of names.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

/// A shard's generation before a read of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generation(u64);

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        let bytes = bytes / SHARDS as u64;
        let items = usize::try_from(bytes / BYTES_PER_ENTRY).unwrap_or(usize::MAX).max(1);
        let shard = || Shard { generation: 0, entries: unsync::Cache::with_weighter(items, bytes, Weight) };
        Self { shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(), hasher: RandomState::new() }
    }

    /// The entry of a name.
    pub(super) fn get(&self, name: &Name) -> Option<Entry> {
        self.shard(name)?.entries.get(name).cloned()
    }

    /// To be taken before the database is read, for [`Cache::fill`].
    pub(super) fn generation(&self, name: &Name) -> Generation {
        Generation(self.shard(name).map_or(0, |shard| shard.generation))
    }

    /// Takes in what a reader found, unless something was committed meanwhile. What it returns is to be answered: the
    /// entry that another reader has filled in meanwhile, if there is one, so that all share one value.
    pub(super) fn fill(&self, name: &Name, before: Generation, found: Found) -> Entry {
        let entry = Entry::from(found);
        let Some(mut shard) = self.shard(name) else { return entry };
        if shard.generation != before.0 {
            return entry;
        }
        if let Some(present) = shard.entries.get(name) {
            return present.clone();
        }
        shard.entries.insert(name.clone(), entry.clone());
        entry
    }

    /// For the writer, after COMMIT: replaces what is known about a name by what `change` makes of it.
    pub(super) fn change(&self, name: &Name, change: impl FnOnce(Option<Entry>) -> Option<Entry>) {
        let Some(mut shard) = self.shard(name) else { return };
        shard.generation += 1;
        let before = shard.entries.get(name).cloned();
        match change(before) {
            Some(entry) => shard.entries.insert(name.clone(), entry),
            None => drop(shard.entries.remove(name)),
        }
    }

    /// For the writer, when another database has taken the place of the one before.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.generation += 1;
            shard.entries.clear();
        }
    }

    fn shard(&self, name: &Name) -> Option<MutexGuard<'_, Shard>> {
        let at = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).ok()?;
        self.shards.get(at).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::image::tests::example;

    fn found(seq: u64) -> Found {
        Found { in_force: Some(Value::new(example(), seq)), pending: None }
    }

    fn in_force(cache: &Cache) -> Option<Option<u64>> {
        cache.get(&example().name).map(|entry| entry.in_force.map(|value| value.seq))
    }

    #[test]
    fn slow_reader_does_not_fill_in_what_a_commit_has_replaced() {
        let cache = Cache::new(1 << 20);
        let name = example().name;
        let before = cache.generation(&name);
        cache.change(&name, |_| Some(Entry::from(found(2))));
        let answered = cache.fill(&name, before, found(1));
        assert_eq!(answered.in_force.unwrap().seq, 1);
        assert_eq!(in_force(&cache), Some(Some(2)));
    }

    #[test]
    fn slow_reader_does_not_fill_in_what_a_commit_has_removed_from_an_empty_cache() {
        let cache = Cache::new(1 << 20);
        let name = example().name;
        let before = cache.generation(&name);
        cache.change(&name, |entry| entry);
        cache.fill(&name, before, found(1));
        assert_eq!(in_force(&cache), None);
    }

    #[test]
    fn two_readers_share_the_value_that_came_first() {
        let cache = Cache::new(1 << 20);
        let name = example().name;
        let before = cache.generation(&name);
        let first = cache.fill(&name, before, found(1));
        let second = cache.fill(&name, before, found(1));
        assert!(Arc::ptr_eq(&first.in_force.unwrap(), &second.in_force.unwrap()));
    }

    #[test]
    fn entries_beyond_the_bytes_given_are_dropped() {
        let cache = Cache::new(256 << 10);
        for number in 0..5000 {
            let mut new = example();
            new.name.text = format!("urn:{number}").into();
            let name = new.name.clone();
            let before = cache.generation(&name);
            cache.fill(&name, before, Found { in_force: Some(Value::new(new, number)), pending: None });
        }
        let weight: u64 = cache.shards.iter().map(|shard| shard.lock().unwrap().entries.weight()).sum();
        assert!(weight <= 256 << 10, "{weight}");
        assert!(weight > 64 << 10, "{weight}");
    }
}
