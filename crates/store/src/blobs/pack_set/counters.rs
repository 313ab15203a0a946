//! The figures of one pack. They are sums that change by themselves: proof of nothing, and where anything depends on
//! them the index is asked.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::Level;
use crate::blobs::format::{FooterEntry, PackHeader, Trailer, align, footer_len};

/// What files are counted in.
const BLOCK: u64 = 4096;

/// What is known of a pack besides its records.
#[derive(Debug, Default)]
pub(in crate::blobs) struct PackCounters {
    /// The length of the sealed file, 0 while it is not sealed.
    sealed_len: AtomicU64,
    /// Bytes of records that the index points to. A record's leaving may be counted before its coming.
    live: AtomicI64,
    /// How many records these are.
    records: AtomicI64,
    /// Bytes that the books of space have for it.
    counted: AtomicU64,
    /// Until this time it is not compacted, in seconds.
    left_alone: AtomicU32,
    /// Its file could not be read at start and is kept: the index knows nothing of what is in it.
    set_aside: AtomicBool,
}

impl PackCounters {
    /// Of a pack found sealed at start.
    pub(in crate::blobs) fn sealed(len: u64, allocated: u64) -> Self {
        let counters = Self::default();
        counters.set_sealed(len);
        counters.recount(allocated);
        counters
    }

    /// Its file could not be read at start and is kept for the next one, or for the operator.
    pub(in crate::blobs) fn set_aside(&self) {
        self.set_aside.store(true, Ordering::Relaxed);
    }

    /// Whether its file is kept although the index knows nothing of it.
    pub(in crate::blobs) fn is_set_aside(&self) -> bool {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// The length of the sealed file; `None` while it is not sealed.
    pub(in crate::blobs) fn sealed_len(&self) -> Option<u64> {
        Some(self.sealed_len.load(Ordering::Acquire)).filter(|len| *len > 0)
    }

    /// It is sealed, with this length.
    pub(in crate::blobs) fn set_sealed(&self, len: u64) {
        self.sealed_len.store(len, Ordering::Release);
    }

    /// Bytes of records that the index points to.
    pub(in crate::blobs) fn live(&self) -> u64 {
        u64::try_from(self.live.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The same with their lines in the footer.
    pub(in crate::blobs) fn occupied(&self) -> u64 {
        self.live() + (self.records() * FooterEntry::LEN) as u64
    }

    /// How many records the index points to.
    pub(in crate::blobs) fn records(&self) -> usize {
        usize::try_from(self.records.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The index points to a record more.
    pub(in crate::blobs) fn add_live(&self, bytes: u64) {
        self.live.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    /// The index points to a record less.
    pub(in crate::blobs) fn remove_live(&self, bytes: u64) {
        self.live.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.records.fetch_sub(1, Ordering::Relaxed);
    }

    /// The index was found to point to these records and bytes, and to no other.
    pub(in crate::blobs) fn recount_live(&self, records: usize, bytes: u64) {
        self.live.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.records.store(i64::try_from(records).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// So many bytes more are counted for it.
    pub(in crate::blobs) fn add_counted(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes that are counted for it.
    pub(in crate::blobs) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// So many bytes are counted for it; returns what were before.
    pub(in crate::blobs) fn recount(&self, bytes: u64) -> u64 {
        self.counted.swap(bytes, Ordering::Relaxed)
    }

    /// The bytes that would come back if what the index points to were copied to another pack.
    pub(in crate::blobs) fn garbage(&self) -> u64 {
        let (records, live) = (self.records(), self.live());
        let needed = if records == 0 { 0 } else { pack_bytes(records, live) };
        self.counted().saturating_sub(needed)
    }

    /// It is not compacted before this time.
    pub(in crate::blobs) fn leave_alone(&self, until: Level) {
        self.left_alone.store(until.seconds(), Ordering::Relaxed);
    }

    /// Whether it is not to be compacted at this time.
    pub(in crate::blobs) fn is_left_alone(&self, now: Level) -> bool {
        now < Level::from_seconds(self.left_alone.load(Ordering::Relaxed))
    }
}

/// What a sealed mixed pack of so many records occupies, whose records have so many bytes in all.
pub(in crate::blobs) fn pack_bytes(records: usize, live: u64) -> u64 {
    let ends = (PackHeader::LEN + footer_len(records) + Trailer::LEN) as u64;
    align(live.saturating_add(ends)).next_multiple_of(BLOCK)
}
