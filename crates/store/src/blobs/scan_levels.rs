//! How many bytes lie at which level, found by a walk over the index: what figures show, and what a waterline is
//! chosen by. No histogram is kept while serving.
//!
//! It knows nothing of what may be let go.

use std::collections::BTreeMap;

use super::index::Index;
use crate::Level;

/// Ages in seconds up to which bytes are counted together: an hour, a day, a week, 30 days, 90 days, a year.
const AGES: [u32; 6] = [3600, 86_400, 604_800, 2_592_000, 7_776_000, 31_536_000];

/// Blobs and their bytes on disk by the time since they were last used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BytesByAge {
    /// Blobs at or above the waterline.
    pub blobs: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Bytes below the waterline: not served any more, and not yet given back.
    pub below_waterline: u64,
    /// Bytes by age: upper end in seconds, and the bytes younger than that and not in an earlier row. What is kept (a
    /// level in the future) is in the first; the last has no upper end.
    pub by_age: Vec<(Option<u32>, u64)>,
    /// The lowest level at or above the waterline.
    pub lowest: Option<Level>,
}

/// Walks the index; no lock is held for longer than one shard takes.
pub(crate) fn scan(index: &Index, now: Level, waterline: Level) -> BytesByAge {
    let mut found = BytesByAge {
        by_age: AGES.iter().map(|age| (Some(*age), 0)).chain([(None, 0)]).collect(),
        ..BytesByAge::default()
    };
    index.for_each(|entry| {
        let bytes = entry.location.occupied();
        if entry.level < waterline {
            found.below_waterline += bytes;
            return;
        }
        found.blobs += 1;
        found.bytes += bytes;
        found.lowest = Some(found.lowest.map_or(entry.level, |lowest| lowest.min(entry.level)));
        let age = now.seconds().saturating_sub(entry.level.seconds());
        if let Some((_, sum)) = found.by_age.iter_mut().find(|(end, _)| end.is_none_or(|end| age < end)) {
            *sum += bytes;
        }
    });
    found
}

/// Seconds that the first of two counts takes together: about an hour, so that a volume's whole past is few counts.
const COARSE_SECONDS: u32 = 4096;

/// The lowest level below which at least `bytes` lie, of what is not below `waterline` already; `None` if there is not so
/// much. Two walks: one finds the hour, one the second in it.
pub(crate) fn level_above(index: &Index, waterline: Level, bytes: u64) -> Option<Level> {
    let count = |from: Level, to: Level, seconds: u32| {
        let mut sums = BTreeMap::<u32, u64>::new();
        index.for_each(|entry| {
            if entry.level >= from && entry.level <= to {
                *sums.entry(entry.level.seconds() / seconds).or_default() += entry.location.occupied();
            }
        });
        sums
    };
    let mut left = bytes;
    // Takes from the lowest until it is enough; which one was it?
    let mut lowest = |sums: BTreeMap<u32, u64>| {
        sums.into_iter().find_map(|(bucket, sum)| {
            let enough = sum >= left;
            left = if enough { left } else { left - sum };
            enough.then_some(bucket)
        })
    };
    let hour = lowest(count(waterline, Level::PINNED, COARSE_SECONDS))?;
    let start = Level::from_seconds(hour.saturating_mul(COARSE_SECONDS));
    let second = lowest(count(start.max(waterline), start.plus(COARSE_SECONDS - 1), 1));
    // What was raised between the two walks is not there any more: the hour as a whole then.
    Some(second.map_or(start.plus(COARSE_SECONDS), |second| Level::from_seconds(second).plus(1)))
}

#[cfg(test)]
mod tests {
    use super::super::format::{FooterEntry, PackId, Place};
    use super::super::index::{Location, Stored};
    use super::*;
    use crate::Digest;

    #[test]
    fn bytes_are_counted_once_each_by_age() {
        let index = Index::new(&[1; 16]);
        let now = Level::from_seconds(100_000_000);
        let waterline = now.minus(40_000_000);
        let ages = [0, 3599, 3600, 90_000, 30_000_000, 39_000_000, 41_000_000];
        for (number, age) in (1_u32..).zip(ages) {
            let place = Place { pack: PackId::new(1), offset: number };
            let location = Location { place, stored: Stored::of(8 << number) };
            index.insert(index.key(&Digest::of(&[number as u8])), location, now.minus(age), Level::ZERO);
        }
        let kept = Location { place: Place { pack: PackId::new(1), offset: 0 }, stored: Stored::of(8) };
        index.insert(index.key(&Digest::of(b"kept")), kept, Level::PINNED, Level::ZERO);
        let found = scan(&index, now, waterline);
        let line = FooterEntry::LEN as u64;
        assert_eq!(found.below_waterline, (8 << 7) + line);
        assert_eq!((found.blobs, found.lowest), (7, Some(now.minus(39_000_000))));
        let sums: Vec<u64> = found.by_age.iter().map(|(_, bytes)| *bytes).collect();
        let lines = [3, 1, 1, 0, 0, 1, 1].map(|count| count * line);
        let records = [8 + 16 + 32, 64, 128, 0, 0, 256, 512];
        assert_eq!(sums, std::array::from_fn::<_, 7, _>(|row| records[row] + lines[row]));
        assert_eq!(found.bytes, sums.iter().sum::<u64>());
    }

    #[test]
    fn level_above_takes_the_lowest_seconds_until_it_is_enough_and_none_below_the_waterline() {
        let index = Index::new(&[1; 16]);
        let each = 1000 + FooterEntry::LEN as u64;
        let levels = [10, 5_000, 5_000, 5_001, 900_000, u32::MAX];
        for (number, level) in (1_u32..).zip(levels) {
            let place = Place { pack: PackId::new(1), offset: number };
            let location = Location { place, stored: Stored::of(1000) };
            let key = index.key(&Digest::of(&number.to_le_bytes()));
            index.insert(key, location, Level::from_seconds(level), Level::ZERO);
        }
        let above =
            |waterline, bytes| level_above(&index, Level::from_seconds(waterline), bytes).map(Level::seconds);
        assert_eq!(above(0, 1), Some(11));
        assert_eq!(above(0, each), Some(11));
        assert_eq!(above(0, each + 1), Some(5_001));
        assert_eq!(above(11, each), Some(5_001));
        assert_eq!(above(11, 2 * each + 1), Some(5_002));
        assert_eq!(above(0, 5 * each), Some(900_001));
        assert_eq!(above(0, 6 * each), Some(u32::MAX));
        assert_eq!(above(0, 6 * each + 1), None);
    }
}
