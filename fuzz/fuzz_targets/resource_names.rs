//! Resource names of ByteStream.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_server::fuzz::resource_names(data));
