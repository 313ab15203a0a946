//! How far back the cache reaches, and how that goes on at the rate at which things come in.

use std::sync::atomic::Ordering;

use crate::cache::Inner;
use crate::inflow::CameIn;
use crate::relevel::LOOK_SECONDS_MAX;
use crate::{Admin, Cache, Figures, Permit, Result};

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;

/// How far back the cache reaches.
#[derive(Clone, Debug, Default)]
pub struct Horizon {
    /// How things stand.
    pub figures: Figures,
    /// Now, in Unix seconds, by the clock that the waterline goes by.
    pub now: u64,
    /// Letting go begins when this many bytes of blobs are there.
    pub room_bytes: u64,
    /// Bytes of blobs that rules and pins keep from being let go.
    pub kept_bytes: u64,
    /// Names that they keep.
    pub kept_names: u64,
    /// What came in within the last hour.
    pub hour: CameIn,
    /// What came in within the last day.
    pub day: CameIn,
}

impl Horizon {
    /// What it is judged by: the day, or the time since the start if that is less.
    pub fn rate(&self) -> CameIn {
        self.day
    }

    /// In so many seconds letting go begins, at the rate of today; `None` if nothing comes in, or it has begun.
    pub fn full_in(&self) -> Option<u64> {
        let left = self.room_bytes.checked_sub(self.figures.live_bytes)?;
        self.rate().time_for(left).filter(|_| self.figures.waterline == 0)
    }

    /// How far back the cache will reach at the rate of today beside what is kept now, if nothing old is used again, in
    /// seconds; what is used again takes room, and so the less. `None` if nothing comes in.
    pub fn reach(&self) -> Option<u64> {
        self.rate().time_for(self.room_bytes.saturating_sub(self.kept_bytes))
    }
}

impl Inner {
    /// Remembers what has come in so far.
    pub(crate) fn note_inflow(&self) {
        self.inflow.note(self.clock.now(), self.came_in());
    }

    /// All bytes of blobs that have come in, since a moment that is the same for the whole run.
    fn came_in(&self) -> u64 {
        self.blobs.figures().live + self.letting_go.bytes.load(Ordering::Relaxed)
    }
}

impl Cache {
    /// How far back it reaches. Asks the file system for sizes, and looks at the level of every blob and name. Blocks.
    ///
    /// # Errors
    /// Whatever keeps the catalog from being read.
    pub fn horizon(&self, _permit: &Permit<Admin>) -> Result<Horizon> {
        let figures = self.figures();
        let (now, total) = (self.inner.clock.now(), self.inner.came_in());
        // What is raised while it is looked is no later than that.
        let kept_from = now.plus(LOOK_SECONDS_MAX);
        Ok(Horizon {
            kept_bytes: self.inner.blobs.bytes_above(kept_from),
            kept_names: self.inner.catalog.count_above(kept_from)?,
            now: now.to_unix(),
            room_bytes: self.inner.blobs.room(),
            hour: self.inner.inflow.within(HOUR, now, total),
            day: self.inner.inflow.within(DAY, now, total),
            figures,
        })
    }
}
