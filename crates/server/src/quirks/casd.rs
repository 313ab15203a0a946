//! buildbox-casd (`grpc-c++`), which is BuildStream 2's only way to the CAS; and what suits everybody we do not know.
//!
//! - It counts 256 bytes a blob on top of the data and stays below the limit that we name, so that no message passes
//!   4 MiB.
//! - Full: 2.0.1 to 2.8.1 go on if each blob of BatchUpdateBlobs is refused with RESOURCE_EXHAUSTED; 2.0.1 fails if the
//!   call is.

/// What we name as `max_batch_total_size_bytes`: 4 MiB less 64 KiB, casd's own limit.
pub(crate) const BATCH_BYTES: i64 = 4 * 1024 * 1024 - 64 * 1024;
