//! A small map that only grows, up to a bound. Whoever looks something up takes no lock; who puts a key in waits for nobody
//! but another who puts the same one in.
//!
//! **Invariant:** a key stands before the first empty slot behind the place that its hash says, since nothing is ever taken out.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys with a value each.
#[derive(Debug)]
pub struct Slots<K, V> {
    /// At least twice as many as may be taken, and so room for what several put in at the same time.
    slots: Box<[OnceLock<(K, V)>]>,
    taken: AtomicUsize,
    most: usize,
    hasher: RandomState,
}

impl<K: Eq + Hash, V> Slots<K, V> {
    /// None so far, and at most so many; but for what others put in while the last of them is.
    pub fn new(most: usize) -> Self {
        let count = (most * 2).next_power_of_two();
        let slots = (0..count).map(|_| OnceLock::new()).collect();
        Self { slots, taken: AtomicUsize::new(0), most, hasher: RandomState::new() }
    }

    /// The slots in which a key may stand, in the order in which it is looked for.
    fn places<Q: Hash + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &OnceLock<(K, V)>> {
        let first = usize::try_from(self.hasher.hash_one(key) % self.slots.len() as u64).unwrap_or(0);
        let (before, from) = self.slots.split_at(first);
        from.iter().chain(before)
    }

    /// The value of a key, if it is there.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut known = self.places(key).map_while(OnceLock::get);
        known.find(|(known, _)| known.borrow() == key).map(|(_, value)| value)
    }

    /// The value of a key, which is put in if there is room; `None` if there is not.
    pub fn get_or_insert<Q: Eq + Hash + ?Sized>(&self, key: &Q, entry: impl FnOnce() -> (K, V)) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.get(key) {
            return Some(value);
        }
        if self.taken.load(Ordering::Acquire) >= self.most {
            // Another may have put it in since.
            return self.get(key);
        }
        let mut entry = Some(entry());
        for slot in self.places(key) {
            if slot.get().is_none()
                && let Some(new) = entry.take()
            {
                entry = slot.set(new).err();
                if entry.is_none() {
                    self.taken.fetch_add(1, Ordering::Release);
                }
            }
            let (known, value) = slot.get()?;
            if known.borrow() == key {
                return Some(value);
            }
        }
        None
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(OnceLock::get).map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn keys_are_found_again_and_no_more_are_taken_than_may_be() {
        let slots: Slots<Box<str>, usize> = Slots::new(5);
        for round in 0..2 {
            for number in 0..9 {
                let key = number.to_string();
                let found = slots.get_or_insert(key.as_str(), || (key.as_str().into(), number));
                assert_eq!(found.copied(), (number < 5).then_some(number), "{round}");
                assert_eq!(slots.get(key.as_str()).copied(), (number < 5).then_some(number));
            }
        }
        assert_eq!(slots.iter().count(), 5);
    }

    #[test]
    fn many_who_put_the_same_keys_in_share_their_values() {
        let slots: Slots<Box<str>, AtomicU64> = Slots::new(50);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..5_000 {
                        let key = (number % 50).to_string();
                        let entry = || (key.as_str().into(), AtomicU64::new(0));
                        slots.get_or_insert(key.as_str(), entry).unwrap().fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(slots.taken.load(Ordering::Relaxed), 50);
        let counts: Vec<_> = slots.iter().map(|(_, count)| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, vec![400; 50]);
    }
}
