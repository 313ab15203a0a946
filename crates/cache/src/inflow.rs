//! How much comes in: what the volume has taken in so far, remembered for each minute of a day.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use millpond_store::Level;

/// So far apart lie what is remembered, in seconds.
const EACH: u32 = 60;
/// So many are remembered: a day.
const SAMPLES: usize = 24 * 60 + 1;

/// What came in within a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameIn {
    /// How long that was, in seconds: the span that was asked for, or what there is since the start.
    pub seconds: u64,
    /// Bytes of blobs.
    pub bytes: u64,
}

impl CameIn {
    /// How long it takes at this rate until so many bytes have come in, in seconds; `None` if nothing comes in.
    pub fn time_for(&self, bytes: u64) -> Option<u64> {
        let time = (u128::from(bytes) * u128::from(self.seconds)).checked_div(u128::from(self.bytes))?;
        u64::try_from(time).ok()
    }
}

/// All bytes that had come in at a time, since some moment.
#[derive(Debug, Default)]
pub(crate) struct Inflow(Mutex<VecDeque<(Level, u64)>>);

impl Inflow {
    /// So many bytes had come in by now.
    pub(crate) fn note(&self, now: Level, total: u64) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|(last, _)| now < last.plus(EACH)) {
            return;
        }
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, total));
    }

    /// What came in within so many seconds before now, when all that had come in is `total`.
    pub(crate) fn within(&self, seconds: u32, now: Level, total: u64) -> CameIn {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = now.minus(seconds);
        // Sorted by time.
        let at = samples.partition_point(|(time, _)| *time < from);
        samples.get(at).map_or(CameIn::default(), |(time, before)| CameIn {
            seconds: u64::from(now.seconds().saturating_sub(time.seconds())),
            // A blob that was found bad has gone without having been let go.
            bytes: total.saturating_sub(*before),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_within_a_span_is_told_and_memory_is_bounded() {
        let inflow = Inflow::default();
        let at = |minute: u32| Level::from_seconds(minute * 60);
        assert_eq!(inflow.within(3600, at(0), 5), CameIn::default());
        for minute in 0..3000 {
            inflow.note(at(minute), u64::from(minute) * 100);
            inflow.note(at(minute).plus(30), 1);
        }
        assert_eq!(inflow.0.lock().unwrap().len(), SAMPLES);
        let hour = inflow.within(3600, at(2999), 299_900);
        assert_eq!(hour, CameIn { seconds: 3600, bytes: 6000 });
        assert_eq!(inflow.within(u32::MAX, at(2999), 299_900).seconds, 24 * 3600);
        assert_eq!(hour.time_for(600), Some(360));
        assert_eq!(CameIn { bytes: 0, ..hour }.time_for(1), None);
    }
}
