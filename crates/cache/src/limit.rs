//! Limits on what one client asks for: how far each goes, and how often it was met.
//!
//! Each is met in another place, some before any call is there; so they are counted by name, for the whole process.

use std::sync::atomic::{AtomicU64, Ordering};

/// How much one request may name or reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most names in one push or look-up.
    pub names_per_push: usize,
    /// The most blobs in one batch: their answers take memory whatever their sizes.
    pub batch_blobs: usize,
    /// The deepest nesting of directories.
    pub tree_depth: usize,
    /// The most blobs in what a name reaches.
    pub closure_blobs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names_per_push: 128, batch_blobs: 200_000, tree_depth: 1000, closure_blobs: 8_000_000 }
    }
}

/// A limit, called as the configuration calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the configuration's reference has them")]
pub enum Limit {
    Connections,
    ConnectionsPerAddress,
    RequestMemory,
    LookUpTime,
    LookUpsWaiting,
    Unread,
    Idle,
    Handshake,
    MessageSize,
    UploadQuiet,
    UploadRate,
    NamesPerPush,
    BatchBlobs,
    TreeDepth,
    ClosureBlobs,
    MaxCasBlobSize,
    RequestsPerMinute,
    UploadPerDay,
}

impl Limit {
    /// Each with its name.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Connections, "connections"),
        (Self::ConnectionsPerAddress, "connections_per_address"),
        (Self::RequestMemory, "request_memory"),
        (Self::LookUpTime, "look_up_time"),
        (Self::LookUpsWaiting, "look_ups_waiting"),
        (Self::Unread, "unread"),
        (Self::Idle, "idle"),
        (Self::Handshake, "handshake"),
        (Self::MessageSize, "message_size"),
        (Self::UploadQuiet, "upload_quiet"),
        (Self::UploadRate, "upload_rate"),
        (Self::NamesPerPush, "names_per_push"),
        (Self::BatchBlobs, "batch_blobs"),
        (Self::TreeDepth, "tree_depth"),
        (Self::ClosureBlobs, "closure_blobs"),
        (Self::MaxCasBlobSize, "max_cas_blob_size"),
        (Self::RequestsPerMinute, "requests_per_minute"),
        (Self::UploadPerDay, "upload_per_day"),
    ];

    /// Somebody has met it.
    pub fn met(self) {
        self.counter().fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was met since the process began.
    pub fn times_met(self) -> u64 {
        self.counter().load(Ordering::Relaxed)
    }

    fn counter(self) -> &'static AtomicU64 {
        static MET: [AtomicU64; Limit::ALL.len()] = [const { AtomicU64::new(0) }; Limit::ALL.len()];
        #[expect(clippy::indexing_slicing, reason = "a test holds the table to the limits")]
        &MET[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_counter_of_its_own() {
        for (number, (limit, _)) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number);
        }
        // Another test may meet it as well.
        let before = Limit::UploadPerDay.times_met();
        Limit::UploadPerDay.met();
        assert!(Limit::UploadPerDay.times_met() > before);
    }
}
