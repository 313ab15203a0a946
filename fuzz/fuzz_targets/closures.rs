//! Messages that a closure is walked by.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_cache::fuzz::closures(data));
