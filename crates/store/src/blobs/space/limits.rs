//! What a store may hold, and what follows from that for its files.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{FOLDERS, KIB, MIB, RoomOptions};
use crate::disk::DiskSpace;
use crate::{Error, Result};

/// The least a store can work with.
const LIMIT_MIN: u64 = 8_000_000;

/// What follows from the limit alone, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// What the data folder may hold in all.
    pub(crate) limit: u64,
    /// An open pack is sealed at this length.
    pub(crate) pack_max: u64,
    /// Blobs from this size on have a pack of their own.
    pub(crate) single_from: u64,
    /// For compaction alone: a target and a victim that is not yet gone.
    pub(crate) for_compaction: u64,
    /// For rows of the catalog, when there is no room for blobs.
    pub(crate) for_catalog: u64,
    /// For the ballast.
    pub(crate) ballast: u64,
    /// What the volume must have left for others.
    pub(crate) keep_free: u64,
    /// The size that was set as the largest of a blob.
    pub(crate) blob_max: u64,
}

impl Limits {
    /// From the limit and the bytes to leave free that were set, or else 90 % of the volume, and the smaller of 2 GB and
    /// 5 % of it.
    pub(super) fn new(options: &RoomOptions, volume: DiskSpace) -> Result<Self> {
        let RoomOptions { limit: given, keep_free, blob_max, .. } = *options;
        let share = |percent: u64| volume.total / 100 * percent;
        let limit = given.unwrap_or_else(|| share(90));
        if limit < LIMIT_MIN {
            let sentence =
                format!("a limit of {limit} bytes is too small for a store, which needs {LIMIT_MIN}");
            return Err(Error::io(sentence, io::ErrorKind::InvalidInput.into()));
        }
        if keep_free.is_some_and(|bytes| bytes.saturating_add(LIMIT_MIN) > volume.total) {
            let sentence = format!(
                "keep_free leaves nothing: {} bytes of a volume of {}",
                keep_free.unwrap_or(0),
                volume.total
            );
            return Err(Error::io(sentence, io::ErrorKind::InvalidInput.into()));
        }
        let pack_max = (1 << (limit / 64).ilog2()).clamp(256 * KIB, 256 * MIB);
        Ok(Self {
            limit,
            pack_max,
            single_from: MIB.min(pack_max / 4),
            for_compaction: 2 * pack_max,
            for_catalog: (limit / 64).clamp(MIB, 64 * MIB),
            ballast: (limit / 64).clamp(MIB, 64 * MIB),
            keep_free: keep_free.unwrap_or_else(|| share(5).min(2_000_000_000)),
            blob_max: blob_max.unwrap_or(u64::MAX),
        })
    }

    /// P: what packs may hold while everything else occupies `other` bytes.
    pub(crate) fn packs(&self, other: u64) -> u64 {
        let kept = self.for_compaction + self.for_catalog + self.ballast + FOLDERS;
        self.limit.saturating_sub(kept).saturating_sub(other)
    }
}

/// The limits in force, which may become others while they are asked for: no lock, since every write asks. Whoever asks
/// while they change may get some of before and some of after, which no book relies on.
#[derive(Debug)]
pub(super) struct LimitsNow([AtomicU64; 8]);

impl LimitsNow {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Self(Default::default());
        now.change(limits);
        now
    }

    pub(super) fn now(&self) -> Limits {
        let [limit, pack_max, single_from, for_compaction, for_catalog, ballast, keep_free, blob_max] =
            self.0.each_ref().map(|part| part.load(Ordering::Relaxed));
        Limits { limit, pack_max, single_from, for_compaction, for_catalog, ballast, keep_free, blob_max }
    }

    pub(super) fn change(&self, limits: Limits) {
        let Limits {
            limit,
            pack_max,
            single_from,
            for_compaction,
            for_catalog,
            ballast,
            keep_free,
            blob_max,
        } = limits;
        let parts = [limit, pack_max, single_from, for_compaction, for_catalog, ballast, keep_free, blob_max];
        for (part, value) in self.0.iter().zip(parts) {
            part.store(value, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(limit: Option<u64>, volume: DiskSpace) -> Result<Limits> {
        Limits::new(&RoomOptions { limit, ..RoomOptions::default() }, volume)
    }

    fn volume(total: u64) -> DiskSpace {
        DiskSpace { total, available: total }
    }

    #[test]
    fn limits_follow_the_table_of_sizes() {
        let found = limits(Some(60_000_000), volume(1 << 40)).unwrap();
        assert_eq!((found.pack_max, found.single_from, found.for_compaction), (512 * KIB, 128 * KIB, MIB));
        let found = limits(Some(16 << 30), volume(1 << 40)).unwrap();
        assert_eq!((found.pack_max, found.single_from, found.for_catalog), (256 * MIB, MIB, 64 * MIB));
        let found = limits(Some(64 << 40), volume(1 << 50)).unwrap();
        assert_eq!((found.pack_max, found.single_from, found.for_catalog), (256 * MIB, MIB, 64 * MIB));
        assert!(found.packs(0) > 63 << 40);
        let found = limits(Some(8_000_000), volume(1 << 40)).unwrap();
        assert_eq!((found.pack_max, found.single_from), (256 * KIB, 64 * KIB));
        assert!(found.packs(MIB) > 3_000_000);
    }

    #[test]
    fn default_limit_works_on_a_volume_of_64_mb() {
        let found = limits(None, volume(64_000_000)).unwrap();
        assert_eq!((found.limit, found.keep_free), (57_600_000, 3_200_000));
        let found = limits(None, volume(100_000_000_000_000)).unwrap();
        assert_eq!((found.limit, found.keep_free), (90_000_000_000_000, 2_000_000_000));
    }

    #[test]
    fn limit_below_the_least_is_refused_with_both_figures() {
        let error = limits(Some(7_999_999), volume(1 << 40)).unwrap_err().to_string();
        assert!(error.contains("7999999") && error.contains("8000000"), "{error}");
    }

    #[test]
    fn limits_in_force_are_those_of_the_last_change() {
        let [before, after] = [1 << 30, 1 << 40].map(|size| limits(Some(size), volume(1 << 50)).unwrap());
        let now = LimitsNow::new(before);
        assert_eq!(now.now(), before);
        now.change(after);
        assert_eq!(now.now(), after);
        assert_ne!(before, after);
    }
}
