//! Listeners and protocol services: wire to domain and back.
