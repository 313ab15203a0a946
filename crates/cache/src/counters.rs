//! What happened since the start, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Names looked up that were not whole.
    pub incomplete_lookups: Counter,
    /// Look-ups that failed for a fault of ours, and were answered as misses.
    pub lookup_faults: Counter,
    /// Look-ups that took too long, and were answered as misses.
    pub lookups_timed_out: Counter,
    /// Look-ups that were answered as misses because too many waited.
    pub lookups_shed: Counter,
    /// Names looked up that wait for their blobs, and have no other value.
    pub pending_lookups: Counter,
    /// Pushes of names that were kept aside.
    pub pending_pushes: Counter,
    /// Pushes that left a name with the value that it had.
    pub names_kept: Counter,
    /// Pushes that were refused because the name has a value.
    pub names_refused: Counter,
    /// Bad records found.
    pub bad_records: Counter,
}
