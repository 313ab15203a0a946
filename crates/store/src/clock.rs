//! Cache time: never goes back, never jumps.
//!
//! At start it is the later of the wall clock and the last time that was written to the volume; from then on the
//! monotonic clock alone moves it, so that a wall clock set forward or back while serving changes no level.
//! The wall clock itself is asked for in this file only.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Level;

/// The source of *now*.
#[derive(Debug)]
pub struct Clock {
    start: Level,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Monotonic(Instant),
    Manual(AtomicU32),
}

impl Clock {
    /// Starts at the later of the wall clock and `last_written`.
    pub fn start(last_written: Level) -> Self {
        let start = Level::from_unix(Self::unix_seconds()).max(last_written);
        Self { start, source: Source::Monotonic(Instant::now()) }
    }

    /// A clock that only [`Clock::advance`] moves.
    pub fn manual(start: Level) -> Self {
        Self { start, source: Source::Manual(AtomicU32::new(0)) }
    }

    /// Cache time now.
    pub fn now(&self) -> Level {
        let passed = match &self.source {
            Source::Monotonic(instant) => u32::try_from(instant.elapsed().as_secs()).unwrap_or(u32::MAX),
            Source::Manual(passed) => passed.load(Ordering::Relaxed),
        };
        self.start.plus(passed)
    }

    /// Moves a manual clock; another clock stays as it is.
    pub fn advance(&self, seconds: u32) {
        if let Source::Manual(passed) = &self.source {
            passed.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    /// The wall clock, in seconds since the Unix epoch; of a manual clock, what that says.
    pub fn wall(&self) -> u64 {
        match self.source {
            Source::Monotonic(_) => Self::unix_seconds(),
            Source::Manual(_) => self.now().to_unix(),
        }
    }

    /// The wall clock, in seconds since the Unix epoch: for what people and clients read, and for expiry dates that
    /// clients set. Not for levels.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the wall clock")]
    pub fn unix_seconds() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
    }

    /// The same in nanoseconds, for what is told of single calls.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the wall clock")]
    pub fn unix_nanoseconds() -> u64 {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }
}
