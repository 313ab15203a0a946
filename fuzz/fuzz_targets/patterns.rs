//! Patterns of names.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_cache::fuzz::patterns(data));
