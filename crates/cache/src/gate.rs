//! The gate: one small lock over what publishing, look-up and letting go must agree on.
//!
//! **Invariant:** the waterline never passes a ticket, nor the time at which a use was recorded here. Nothing under
//! this lock waits, does I/O or allocates by the size of a closure.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millpond_store::catalog::{Name, UseOf, Value};
use millpond_store::{Clock, Level};

use crate::{Error, Result};

/// Publishes and look-ups in progress, uses not yet in the catalog, and the lease in force.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Arc<Clock>,
    lease_seconds: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many tickets were given at each time.
    tickets: BTreeMap<Level, u32>,
    /// No ticket is given any more.
    closed: bool,
    /// By name and the number of its value: a use of the old value must not lift the new one.
    uses: HashMap<(Name, u64), Level>,
    /// Nobody will ever take the uses.
    without_uses: bool,
}

/// A publish or look-up in progress: until it is dropped the waterline stays at or below its time.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    time: Level,
}

impl Gate {
    pub(crate) fn new(clock: Arc<Clock>, lease: Duration) -> Arc<Self> {
        let lease_seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        Arc::new(Self { clock, lease_seconds, state: Mutex::default() })
    }

    /// What was raised at this time or later needs no raising now: the waterline cannot reach it for a lease.
    pub(crate) fn fresh_from(&self) -> Level {
        self.clock.now().minus(self.lease_seconds / 8)
    }

    /// Begins a publish or a look-up; `Busy` once the gate is closed.
    pub(crate) fn ticket(self: &Arc<Self>) -> Result<Ticket> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Busy("the cache is being closed: try again when it is back".into()));
        }
        let time = self.clock.now();
        *state.tickets.entry(time).or_default() += 1;
        drop(state);
        Ok(Ticket { gate: Arc::clone(self), time })
    }

    /// Gives no tickets any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether no publish or look-up is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().tickets.is_empty()
    }

    /// Notes that `value` is being answered and its closure was raised to `level`. False if the waterline, which
    /// `waterline` reads under the gate, passed it meanwhile: then it must not be answered.
    pub(crate) fn record_use(&self, value: &Value, level: Level, waterline: impl FnOnce() -> Level) -> bool {
        let mut state = self.lock();
        let key = (value.name.clone(), value.seq);
        let used = state.uses.get(&key).copied().unwrap_or(Level::ZERO);
        if value.level().max(used) < waterline() {
            return false;
        }
        if level > value.level().max(used) && !state.without_uses {
            state.uses.insert(key, level);
        }
        true
    }

    /// The catalog is poisoned: it takes in no uses, and no waterline that they could fall below, until a restart.
    pub(crate) fn keep_no_uses(&self) {
        let mut state = self.lock();
        state.without_uses = true;
        state.uses = HashMap::new();
    }

    /// All uses, for the catalog. They stay here until [`Gate::uses_committed`].
    pub(crate) fn uses(&self) -> Vec<UseOf> {
        let state = self.lock();
        let uses = state.uses.iter();
        uses.map(|((name, seq), level)| UseOf { name: name.clone(), seq: *seq, level: *level }).collect()
    }

    /// Takes out what was committed, unless it was used again meanwhile.
    pub(crate) fn uses_committed(&self, committed: &[UseOf]) {
        let mut state = self.lock();
        for used in committed {
            let key = (used.name.clone(), used.seq);
            if state.uses.get(&key) == Some(&used.level) {
                state.uses.remove(&key);
            }
        }
    }

    /// The time S of a snapshot begun now: every value with a level set at S or earlier had its whole closure raised
    /// before; one that is still being walked has a ticket.
    pub(crate) fn snapshot_time(&self) -> Level {
        let state = self.lock();
        let now = self.clock.now();
        state.tickets.keys().next().copied().map_or(now, |oldest| oldest.min(now)).minus(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// When it was given.
    pub(crate) fn time(&self) -> Level {
        self.time
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some(count) = state.tickets.get_mut(&self.time) {
            *count -= 1;
            if *count == 0 {
                state.tickets.remove(&self.time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_time_stays_below_the_oldest_ticket() {
        let clock = Arc::new(Clock::manual(Level::from_seconds(100)));
        let gate = Gate::new(Arc::clone(&clock), Duration::from_secs(80));
        let ticket = gate.ticket().unwrap();
        clock.advance(10);
        let second = gate.ticket().unwrap();
        assert_eq!(gate.snapshot_time().seconds(), 99);
        drop(ticket);
        assert_eq!(gate.snapshot_time().seconds(), 109);
        drop(second);
        clock.advance(5);
        assert_eq!(gate.snapshot_time().seconds(), 114);
        assert_eq!(gate.fresh_from().seconds(), 105);
    }
}
