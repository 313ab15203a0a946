//! The lease in force: what was set, or less while the volume is too small for its load.

use std::time::{Duration, Instant};

use millpond_store::Level;

/// The lease is not shortened below this, or below what was set if that is less.
const FLOOR_SECONDS: u32 = 60;
/// It is halved, or doubled again, at most so often.
const STEP: Duration = Duration::from_secs(10);

/// How far the waterline came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    /// Where it is now.
    pub waterline: Level,
    /// A lease kept it from where it was to go.
    pub held_by_lease: bool,
    /// Nothing is left to go: all that is there is kept.
    pub held_by_rules: bool,
}

/// The lease.
#[derive(Debug)]
pub(super) struct Lease {
    set: u32,
    now: u32,
    changed: Option<Instant>,
    /// Until when what was promised with a longer one is kept: a shorter one that was set counts from then on.
    longer_until: Option<Instant>,
    /// When it was shortened, and the eighth that counted as fresh until then: what was answered before that moment may lie
    /// so far back.
    before: Vec<(Instant, u32)>,
}

impl Lease {
    pub(super) fn new(set: Duration) -> Self {
        let set = seconds(set);
        Self { set, now: set, changed: None, longer_until: None, before: Vec::new() }
    }

    /// Sets another: a longer one counts at once, a shorter one when all has passed that was promised before.
    pub(super) fn set(&mut self, set: Duration) {
        let (before, set) = (self.set, seconds(set));
        self.set = set;
        self.longer_until = None;
        if set < self.now {
            let promised = self.now.saturating_add(self.unrecorded());
            self.longer_until = Some(Instant::now() + Duration::from_secs(promised.into()));
        } else if self.now >= before {
            self.now = set;
        }
    }

    /// In force, in seconds.
    pub(super) fn seconds(&self) -> u32 {
        self.now
    }

    /// In force, and as it was set.
    pub(super) fn durations(&self) -> (Duration, Duration) {
        (Duration::from_secs(self.now.into()), Duration::from_secs(self.set.into()))
    }

    /// How long before an answer what it relies on may have been raised, in seconds, for answers of which the lease in force
    /// has not passed yet.
    pub(super) fn unrecorded(&mut self) -> u32 {
        let lease = Duration::from_secs(self.now.into());
        self.before.retain(|(moment, _)| moment.elapsed() <= lease);
        self.before.iter().map(|(_, eighth)| *eighth).max().unwrap_or(0).max(self.now / 8)
    }

    pub(super) fn is_at_its_floor(&self) -> bool {
        self.now <= self.floor()
    }

    /// A step down if writers wait for it, else up, unless the last one was a moment ago.
    pub(super) fn adjust(&mut self, down: bool) {
        self.longer_until = self.longer_until.filter(|until| *until > Instant::now());
        let most = if self.longer_until.is_some() { self.set.max(self.now) } else { self.set };
        let to = if down { (self.now / 2).max(self.floor()) } else { self.now.saturating_mul(2).min(most) };
        let wait = self.changed.is_some_and(|changed| changed.elapsed() < STEP);
        if to != self.now && !wait {
            if to < self.now {
                self.before.push((Instant::now(), self.now / 8));
            }
            self.now = to;
            self.changed = Some(Instant::now());
        }
    }

    fn floor(&self) -> u32 {
        FLOOR_SECONDS.min(self.set)
    }
}

fn seconds(set: Duration) -> u32 {
    u32::try_from(set.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_lease_counts_at_once_and_a_shorter_one_when_promises_have_passed() {
        let mut lease = Lease::new(Duration::from_secs(100));
        lease.set(Duration::from_secs(200));
        assert_eq!(lease.seconds(), 200);
        lease.set(Duration::from_secs(100));
        lease.adjust(false);
        assert_eq!((lease.seconds(), lease.durations().1.as_secs()), (200, 100));
        lease.longer_until = lease.longer_until.map(|until| until - Duration::from_secs(226));
        lease.adjust(false);
        assert_eq!(lease.seconds(), 100);
        lease.adjust(true);
        lease.changed = None;
        lease.adjust(true);
        assert_eq!(lease.seconds(), 60, "shortened for the load");
        lease.set(Duration::from_secs(200));
        assert_eq!(lease.seconds(), 60, "the load is what it was");
    }

    #[test]
    fn lease_is_halved_to_its_floor_and_given_back_a_step_at_a_time() {
        let mut lease = Lease::new(Duration::from_secs(200));
        lease.adjust(true);
        lease.adjust(true);
        assert_eq!((lease.seconds(), lease.unrecorded()), (100, 25));
        let mut step = |down| {
            lease.changed = None;
            lease.adjust(down);
            lease.seconds()
        };
        assert_eq!([step(true), step(true), step(false), step(false), step(false)], [60, 60, 120, 200, 200]);
        assert!(Lease::new(Duration::from_secs(5)).is_at_its_floor());
        assert!(Lease::new(Duration::ZERO).is_at_its_floor());
    }
}
