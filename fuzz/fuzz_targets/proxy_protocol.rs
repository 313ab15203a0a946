//! What a proxy sends before its client's first byte.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_server::fuzz::proxy_protocol(data));
