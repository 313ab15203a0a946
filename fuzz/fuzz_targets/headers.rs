//! Headers that say who is calling.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_server::fuzz::headers(data));
