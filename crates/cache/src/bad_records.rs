//! Bad records on their way into the catalog, so that no restart brings their blobs back as there.
//!
//! What the catalog cannot take in just now, for want of room, say, is kept and tried again. Once it is poisoned it
//! takes nothing in before a restart; what is forgotten then is found again when it is next read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_store::blobs::Damage;
use millpond_store::{Error, Result, now_and_then};

use crate::counters::Counters;

/// Records that wait at most.
const WAITING_MAX: usize = 100_000;

type Remember = Box<dyn Fn(Damage) -> Result<()> + Send + Sync>;

/// The records, and how the catalog is told of one.
pub(crate) struct BadRecords {
    remember: Remember,
    counters: Arc<Counters>,
    waiting: Mutex<Vec<Damage>>,
}

impl std::fmt::Debug for BadRecords {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "BadRecords({} wait)", self.lock().len())
    }
}

impl BadRecords {
    pub(crate) fn new(counters: Arc<Counters>, remember: Remember) -> Self {
        Self { remember, counters, waiting: Mutex::default() }
    }

    /// One was found. Its place goes into the catalog before its reader is answered. Blocks.
    pub(crate) fn found(&self, damage: Damage) {
        self.counters.bad_records.add(1);
        let (pack, offset) = (damage.pack, damage.offset);
        now_and_then!(error, pack, offset, "a bad record: its blob is missing from now on");
        if let Err(error) = (self.remember)(damage) {
            self.keep(vec![damage], &error);
        }
    }

    /// Tries again what the catalog could not take in, and begins with no more of it after `time`. Blocks.
    pub(crate) fn retry(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut waiting = std::mem::take(&mut *self.lock());
        while let Some(damage) = waiting.last() {
            if Instant::now() >= end {
                return self.put_back(waiting);
            }
            if let Err(error) = (self.remember)(*damage) {
                return self.keep(waiting, &error);
            }
            waiting.pop();
        }
    }

    fn keep(&self, damages: Vec<Damage>, error: &Error) {
        let poisoned = matches!(error, Error::Poisoned(_));
        now_and_then!(
            error,
            %error,
            later = !poisoned,
            "a bad record is not remembered: a restart would have to find it anew"
        );
        if !poisoned {
            self.put_back(damages);
        }
    }

    fn put_back(&self, damages: Vec<Damage>) {
        let mut waiting = self.lock();
        let room = WAITING_MAX.saturating_sub(waiting.len());
        waiting.extend(damages.into_iter().take(room));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Damage>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use millpond_store::Held;

    use super::*;

    /// What the catalog has, with room for so many.
    fn catalog(room: &Arc<AtomicUsize>) -> (BadRecords, Arc<Mutex<Vec<Damage>>>) {
        let (room, has) = (Arc::clone(room), Arc::<Mutex<Vec<Damage>>>::default());
        let taken = Arc::clone(&has);
        let remember = move |damage| {
            let mut taken = taken.lock().unwrap();
            match room.load(Ordering::Relaxed) {
                usize::MAX => Err(Error::Poisoned("on purpose".into())),
                room if taken.len() < room => {
                    taken.push(damage);
                    Ok(())
                }
                room => Err(Error::NoSpace { held: Held::Names, used: 0, limit: room as u64 }),
            }
        };
        (BadRecords::new(Arc::default(), Box::new(remember)), has)
    }

    #[test]
    fn what_the_catalog_had_no_room_for_is_remembered_once_it_has() {
        let room = Arc::new(AtomicUsize::new(1));
        let (records, has) = catalog(&room);
        let damages = [1, 2, 3].map(|pack| Damage { pack, offset: 8 });
        damages.iter().for_each(|damage| records.found(*damage));
        assert_eq!(*has.lock().unwrap(), damages[..1]);
        for now in [1, 2, 3, 4] {
            room.store(now, Ordering::Relaxed);
            records.retry(Duration::from_secs(600));
            assert_eq!(has.lock().unwrap().len(), now.min(3));
        }
        let mut all = has.lock().unwrap().clone();
        all.sort();
        assert_eq!(all, damages);
    }

    #[test]
    fn what_there_is_no_time_for_goes_on_waiting() {
        let room = Arc::new(AtomicUsize::new(0));
        let (records, has) = catalog(&room);
        (1..=3).for_each(|pack| records.found(Damage { pack, offset: 8 }));
        room.store(3, Ordering::Relaxed);
        records.retry(Duration::ZERO);
        assert!(has.lock().unwrap().is_empty());
        records.retry(Duration::from_secs(600));
        assert_eq!(has.lock().unwrap().len(), 3);
    }

    #[test]
    fn poisoned_catalog_leaves_nothing_waiting() {
        let (records, _) = catalog(&Arc::new(AtomicUsize::new(usize::MAX)));
        (0..100).for_each(|pack| records.found(Damage { pack, offset: 1 }));
        assert!(records.lock().is_empty());
    }
}
