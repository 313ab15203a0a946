//! Packs that were damaged on the volume.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_store::fuzz::packs(data));
