//! A real server over a real cache in a temporary directory, and raw gRPC calls to it: what clients probe for, what
//! they send in earnest, and what only broken or hostile ones send.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test crate, where panics are answers"
)]

mod action_cache;
mod assets;
mod batches;
mod connections;
mod instances;
mod limits;
mod memory;
mod pages;
mod probes;
mod read;
mod references;
mod server;
mod trees;
mod write;
