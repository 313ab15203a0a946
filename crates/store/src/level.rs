//! Levels: until when a blob or a name matters, in whole seconds since the start of 2020 (UTC), 32 bits.
//!
//! A level is at least the time of the last use, in the future where something keeps it. What lies below the
//! *waterline* has been let go. 32 bits last until 2156.

use std::fmt;

/// A time in seconds since 2020-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u32);

/// 2020-01-01T00:00:00Z in seconds since the Unix epoch.
const START_OF_2020: u64 = 1_577_836_800;

impl Level {
    /// The lowest level; nothing lies below it.
    pub const ZERO: Self = Self(0);
    /// The highest level: pinned.
    pub const PINNED: Self = Self(u32::MAX);

    /// From seconds since 2020.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Seconds since 2020.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The level of a wall-clock time; times outside the range become its ends.
    pub fn from_unix(seconds: u64) -> Self {
        Self(u32::try_from(seconds.saturating_sub(START_OF_2020)).unwrap_or(u32::MAX))
    }

    /// Seconds since the Unix epoch.
    pub fn to_unix(self) -> u64 {
        START_OF_2020 + u64::from(self.0)
    }

    /// So many seconds earlier, but not below zero.
    #[must_use]
    pub const fn minus(self, seconds: u32) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// So many seconds later, but not above the highest.
    #[must_use]
    pub const fn plus(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}
