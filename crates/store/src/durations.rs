//! How long things took, counted by length in figures that everybody may raise at once: no lock is taken, and nothing is
//! allocated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest that each class but the last takes, in seconds: from what the page cache answers to what a user has given up.
pub const BOUNDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 120.0,
];
/// Those, and whatever took longer.
const CLASSES: usize = BOUNDS.len() + 1;

/// So many things took so long.
#[derive(Debug, Default)]
pub struct Durations {
    classes: [AtomicU64; CLASSES],
    nanoseconds: AtomicU64,
}

/// What they came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Took {
    /// How many there were of each class, those beyond the last bound at the end.
    pub classes: [u64; CLASSES],
    /// How long all took together, in seconds.
    pub seconds: f64,
}

impl Durations {
    /// Something took so long.
    pub fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let class = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(class) = self.classes.get(class) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What they came to by now.
    pub fn read(&self) -> Took {
        let mut took = Took::default();
        for (count, class) in took.classes.iter_mut().zip(&self.classes) {
            *count = class.load(Ordering::Relaxed);
        }
        took.seconds = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        took
    }
}

impl Took {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_class_whose_bound_it_does_not_pass() {
        let durations = Durations::default();
        for micros in [0, 100, 101, 1_000_000, 1_000_001, 3_600_000_000] {
            durations.note(Duration::from_micros(micros));
        }
        let took = durations.read();
        let of = |bound| took.classes[BOUNDS.iter().position(|known| *known == bound).unwrap()];
        assert_eq!([0.0001, 0.00025, 1.0, 2.5].map(of), [2, 1, 1, 1]);
        assert_eq!((took.classes[CLASSES - 1], took.count()), (1, 6));
        assert!((took.seconds - 3602.000202).abs() < 1e-6, "{}", took.seconds);
        assert!(BOUNDS.is_sorted());
    }
}
