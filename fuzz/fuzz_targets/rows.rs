//! Rows of the catalog and records of its journal.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_store::fuzz::rows(data));
