//! The gate: one small lock over what publishing, look-up and letting go must agree on.
//!
//! **Invariant:** the waterline is moved under this lock alone, never falls, and never passes a ticket, nor the time that
//! lies one lease and an eighth before now. Nothing under this lock waits, does I/O or allocates by the size of a closure.

mod lease;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millpond_store::catalog::{Name, UseOf, Value};
use millpond_store::{Clock, Level};

use lease::Lease;
pub(crate) use lease::Leased;

use crate::{Error, Result};

/// Publishes and look-ups in progress, uses not yet in the catalog, and the lease in force.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Arc<Clock>,
    state: Mutex<State>,
    /// An eighth of the lease in force, in seconds.
    fresh_seconds: AtomicU32,
}

#[derive(Debug)]
struct State {
    /// How many tickets were given at each time.
    tickets: BTreeMap<Level, u32>,
    /// Tickets that are given now are of this generation; how many of each are not back yet.
    generation: u64,
    of_generation: BTreeMap<u64, u32>,
    /// No ticket is given any more.
    closed: bool,
    /// By name and the number of its value: a use of the old value must not lift the new one.
    uses: HashMap<(Name, u64), Used>,
    /// Nobody will ever take the uses.
    without_uses: bool,
    lease: Lease,
    /// The time of a start after an unclean stop: what was promised before it lay in memory, and is kept by not letting
    /// anything go for a lease.
    held_since: Option<Level>,
}

/// What a use makes of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    /// What its closure was raised to.
    level: Level,
    /// When it was used.
    touched: Level,
}

/// A publish or look-up in progress: until it is dropped the waterline stays at or below its time.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    time: Level,
    /// What the waterline must not pass: the time, or less.
    holds: Level,
    generation: u64,
}

/// Levels may fall from here on: the waterline stays at or below its time until it is dropped.
#[derive(Debug)]
pub(crate) struct Fall {
    /// Holds the waterline.
    ticket: Ticket,
    /// What lies below was promised to nobody.
    pub leased_from: Level,
}

impl Gate {
    pub(crate) fn new(clock: Arc<Clock>, lease: Duration) -> Arc<Self> {
        let lease = Lease::new(lease);
        let fresh_seconds = AtomicU32::new(lease.seconds() / 8);
        let state = State {
            tickets: BTreeMap::new(),
            generation: 0,
            of_generation: BTreeMap::new(),
            closed: false,
            uses: HashMap::new(),
            without_uses: false,
            lease,
            held_since: None,
        };
        Arc::new(Self { clock, state: Mutex::new(state), fresh_seconds })
    }

    /// What was raised at this time or later needs no raising now: the waterline cannot reach it for a lease.
    pub(crate) fn fresh_from(&self) -> Level {
        self.clock.now().minus(self.fresh_seconds.load(Ordering::Relaxed))
    }

    /// Keeps what was promised before an unclean stop: for a lease from now on the waterline stays.
    pub(crate) fn hold_for_a_lease(&self) {
        let now = self.clock.now();
        self.lock().held_since = Some(now);
    }

    /// Whether what was promised before an unclean stop is still kept.
    pub(crate) fn keeps_earlier_promises(&self) -> bool {
        self.lock().is_held(self.clock.now())
    }

    /// Raises the waterline to `target`, or as far as leases and tickets allow, by `set`; `current` reads it. Says what it
    /// is now.
    pub(crate) fn raise_waterline(
        &self,
        target: Level,
        current: impl FnOnce() -> Level,
        set: impl FnOnce(Level),
    ) -> Leased {
        let mut state = self.lock();
        let (now, before) = (self.clock.now(), current());
        let lease = state.lease.seconds();
        if !state.is_held(now) {
            state.held_since = None;
        }
        let by_lease =
            if state.held_since.is_some() { before } else { now.minus(lease + state.lease.unrecorded()) };
        let by_tickets = state.tickets.keys().next().copied().unwrap_or(now);
        let waterline = target.min(by_lease).min(by_tickets).max(before);
        if waterline > before {
            set(waterline);
        }
        // A ticket is given back soon: no shorter lease would help.
        let held_by_lease = by_lease < target && by_lease <= by_tickets && waterline < target;
        Leased { waterline, held_by_lease, held_by_rules: false }
    }

    /// What was used at this time or later is kept by a lease, as things are.
    pub(crate) fn leased_from(&self) -> Level {
        self.lock().leased_from(self.clock.now())
    }

    /// Begins to let levels fall; `Busy` once the gate is closed.
    pub(crate) fn begin_fall(self: &Arc<Self>) -> Result<Fall> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        let time = self.clock.now();
        let leased_from = state.leased_from(time);
        // Of the generation to come: those who wait for tickets of before do not wait for this one.
        let generation = state.generation + 1;
        state.give(time, generation);
        drop(state);
        let ticket = Ticket { gate: Arc::clone(self), time, holds: time, generation };
        Ok(Fall { ticket, leased_from })
    }

    /// Tickets given from now on are of another generation; says which one ends.
    pub(crate) fn end_generation(&self) -> u64 {
        let mut state = self.lock();
        state.generation += 1;
        state.generation - 1
    }

    /// Whether every ticket of this generation and those before is back.
    pub(crate) fn is_through(&self, generation: u64) -> bool {
        self.lock().of_generation.keys().next().is_none_or(|oldest| *oldest > generation)
    }

    /// Until when what has this level is not let go, as the lease is now; `None` for ever.
    pub(crate) fn stays_until(&self, level: Level) -> Option<Level> {
        let mut state = self.lock();
        let lease = state.lease.seconds() + state.lease.unrecorded();
        (level < Level::PINNED).then(|| level.plus(lease))
    }

    /// Shortens the lease if it holds the waterline (`held`) while writers wait for room, gives it back if neither is so; at
    /// most one step in ten seconds. The lease in force, and what was set.
    pub(crate) fn adjust_lease(&self, held: bool, writers_wait: bool) -> (Duration, Duration) {
        let mut state = self.lock();
        if held == writers_wait {
            state.lease.adjust(held);
        }
        self.fresh_seconds.store(state.lease.seconds() / 8, Ordering::Relaxed);
        state.lease.durations()
    }

    /// Sets another lease. What was promised with a longer one is kept.
    pub(crate) fn set_lease(&self, lease: Duration) {
        let mut state = self.lock();
        state.lease.set(lease);
        self.fresh_seconds.store(state.lease.seconds() / 8, Ordering::Relaxed);
    }

    /// Whether the lease is as short as it may get, and nothing else keeps the waterline down.
    pub(crate) fn is_lease_at_its_floor(&self) -> bool {
        let state = self.lock();
        state.lease.is_at_its_floor() && state.held_since.is_none()
    }

    /// The lease in force and the one that was set.
    pub(crate) fn lease(&self) -> (Duration, Duration) {
        self.lock().lease.durations()
    }

    /// Begins a publish or a look-up; `Busy` once the gate is closed.
    pub(crate) fn ticket(self: &Arc<Self>) -> Result<Ticket> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        let (time, generation) = (self.clock.now(), state.generation);
        state.give(time, generation);
        drop(state);
        Ok(Ticket { gate: Arc::clone(self), time, holds: time, generation })
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

    /// Notes that `value` was used at `touched`, and that its closure was raised to `level`. False if the waterline, which
    /// `waterline` reads under the gate, passed it meanwhile: then it must not be answered.
    pub(crate) fn record_use(
        &self,
        value: &Value,
        level: Level,
        touched: Level,
        waterline: impl FnOnce() -> Level,
    ) -> bool {
        let mut state = self.lock();
        let key = (value.name.clone(), value.seq);
        let used = state.uses.get(&key).copied().unwrap_or_default();
        let known = Used { level: value.level().max(used.level), touched: value.touched().max(used.touched) };
        if known.level < waterline() {
            return false;
        }
        if (level > known.level || touched > known.touched) && !state.without_uses {
            let used = Used { level: level.max(used.level), touched: touched.max(used.touched) };
            state.uses.insert(key, used);
        }
        true
    }

    /// The catalog is poisoned: it takes in no uses, and no waterline that they could fall below, until a restart.
    pub(crate) fn keep_no_uses(&self) {
        let mut state = self.lock();
        state.without_uses = true;
        state.uses = HashMap::new();
    }

    /// The level of a value, with a use that the catalog does not have yet.
    pub(crate) fn level_of(&self, value: &Value) -> Level {
        let key = (value.name.clone(), value.seq);
        let used = self.lock().uses.get(&key).copied();
        value.level().max(used.unwrap_or_default().level)
    }

    /// All uses, for the catalog. They stay here until [`Gate::uses_committed`].
    pub(crate) fn uses(&self) -> Vec<UseOf> {
        let state = self.lock();
        let uses = state.uses.iter();
        let use_of = |((name, seq), used): (&(Name, u64), &Used)| {
            let (level, touched) = (used.level, used.touched);
            UseOf { name: name.clone(), seq: *seq, level, touched }
        };
        uses.map(use_of).collect()
    }

    /// Takes out what was committed, unless it was used again meanwhile.
    pub(crate) fn uses_committed(&self, committed: &[UseOf]) {
        let mut state = self.lock();
        for used in committed {
            let key = (used.name.clone(), used.seq);
            if state.uses.get(&key) == Some(&Used { level: used.level, touched: used.touched }) {
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

    /// Keeps the waterline at or below `level` from now on, which may lie before the ticket's time; false if it lies above
    /// already.
    pub(crate) fn hold(&mut self, level: Level, waterline: impl FnOnce() -> Level) -> bool {
        let mut state = self.gate.lock();
        if waterline() > level {
            return false;
        }
        let holds = self.holds.min(level);
        state.give(holds, self.generation);
        state.give_back(self.holds, self.generation);
        self.holds = holds;
        true
    }
}

fn closed() -> Error {
    Error::Busy("the cache is being closed: try again when it is back".into())
}

impl Fall {
    /// When it began.
    pub(crate) fn time(&self) -> Level {
        self.ticket.time
    }
}

impl State {
    /// Whether the waterline stays for what was promised before an unclean stop.
    fn is_held(&self, now: Level) -> bool {
        self.held_since.is_some_and(|since| now.minus(self.lease.seconds()) < since)
    }

    /// What was used at this time or later is kept by a lease.
    fn leased_from(&mut self, now: Level) -> Level {
        let lease = self.lease.seconds();
        if self.is_held(now) { Level::ZERO } else { now.minus(lease + self.lease.unrecorded()) }
    }

    fn give(&mut self, holds: Level, generation: u64) {
        *self.tickets.entry(holds).or_default() += 1;
        *self.of_generation.entry(generation).or_default() += 1;
    }

    fn give_back(&mut self, held: Level, generation: u64) {
        take_one(&mut self.tickets, &held);
        take_one(&mut self.of_generation, &generation);
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.lock().give_back(self.holds, self.generation);
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

    fn raise(gate: &Gate, waterline: &mut Level, target: Level) -> Leased {
        let before = *waterline;
        gate.raise_waterline(target, || before, |to| *waterline = to)
    }

    #[test]
    fn waterline_passes_no_lease_no_ticket_and_never_falls() {
        let clock = Arc::new(Clock::manual(Level::from_seconds(1000)));
        let gate = Gate::new(Arc::clone(&clock), Duration::from_secs(80));
        let mut waterline = Level::from_seconds(5);
        let leased = raise(&gate, &mut waterline, Level::PINNED);
        assert!(leased.held_by_lease && waterline.seconds() == 910);
        let ticket = gate.ticket().unwrap();
        clock.advance(500);
        let leased = raise(&gate, &mut waterline, Level::PINNED);
        assert!(!leased.held_by_lease && waterline.seconds() == 1000);
        drop(ticket);
        let leased = raise(&gate, &mut waterline, Level::from_seconds(1100));
        assert!(!leased.held_by_lease && waterline.seconds() == 1100);
        raise(&gate, &mut waterline, Level::from_seconds(3));
        assert_eq!(waterline.seconds(), 1100);
    }

    #[test]
    fn ticket_holds_what_a_memo_vouches_for_unless_that_is_gone() {
        let clock = Arc::new(Clock::manual(Level::from_seconds(1000)));
        let gate = Gate::new(Arc::clone(&clock), Duration::ZERO);
        let mut ticket = gate.ticket().unwrap();
        let mut waterline = Level::from_seconds(900);
        assert!(!ticket.hold(Level::from_seconds(899), || waterline));
        assert!(ticket.hold(Level::from_seconds(950), || waterline));
        assert!(ticket.hold(Level::from_seconds(990), || waterline));
        raise(&gate, &mut waterline, Level::PINNED);
        assert_eq!(waterline.seconds(), 950);
        drop(ticket);
        raise(&gate, &mut waterline, Level::PINNED);
        assert_eq!(waterline.seconds(), 1000);
    }

    #[test]
    fn nobody_raises_the_waterline_past_what_is_held_at_that_moment() {
        let clock = Arc::new(Clock::manual(Level::from_seconds(1000)));
        let gate = Gate::new(Arc::clone(&clock), Duration::ZERO);
        let waterline = AtomicU32::new(0);
        let read = || Level::from_seconds(waterline.load(Ordering::SeqCst));
        let publish = || {
            let mut held = 0;
            for _ in 0..20_000 {
                let mut ticket = gate.ticket().unwrap();
                let level = ticket.time().minus(1);
                if ticket.hold(level, read) {
                    held += 1;
                    assert!(read() <= level);
                    std::thread::yield_now();
                    assert!(read() <= level);
                }
            }
            held
        };
        std::thread::scope(|scope| {
            let publishing = scope.spawn(publish);
            while !publishing.is_finished() {
                let set = |to: Level| waterline.store(to.seconds(), Ordering::SeqCst);
                gate.raise_waterline(Level::PINNED, read, set);
                clock.advance(1);
                std::thread::yield_now();
            }
            assert!(publishing.join().unwrap() > 0);
        });
    }

    #[test]
    fn after_an_unclean_stop_nothing_goes_for_a_lease() {
        let clock = Arc::new(Clock::manual(Level::from_seconds(1000)));
        let gate = Gate::new(Arc::clone(&clock), Duration::from_secs(80));
        gate.hold_for_a_lease();
        let mut waterline = Level::from_seconds(5);
        clock.advance(79);
        assert!(raise(&gate, &mut waterline, Level::PINNED).held_by_lease);
        assert_eq!(waterline.seconds(), 5);
        clock.advance(1);
        raise(&gate, &mut waterline, Level::PINNED);
        assert_eq!(waterline.seconds(), 990);
    }
}
