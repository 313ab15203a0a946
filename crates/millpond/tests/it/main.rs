//! The end-to-end tests: the `millpond` program as users run it, and what they run against it.
//!
//! The modules that need real BuildStream clients, or root and the tools of file systems, are compiled with the feature
//! `real-clients`; `scripts/test-clients` makes these clients and installs these tools. What cannot run on this machine
//! is left out, and the last lines of `scripts/test` say so.
#![cfg(test)]

#[cfg(feature = "real-clients")]
mod acme;
mod admin;
mod audit;
mod authorities;
mod backup;
#[cfg(feature = "real-clients")]
mod backup_disk;
mod battery;
#[cfg(feature = "real-clients")]
mod bazel;
mod bench;
mod bench_tls;
#[cfg(feature = "real-clients")]
mod book;
#[cfg(feature = "real-clients")]
mod bst;
#[cfg(feature = "real-clients")]
mod bst1;
#[cfg(feature = "real-clients")]
mod bst2;
#[cfg(feature = "real-clients")]
mod bst2_sandbox;
#[cfg(feature = "real-clients")]
mod bst_cold;
#[cfg(feature = "real-clients")]
mod bst_copy;
#[cfg(feature = "real-clients")]
mod bst_crowd;
#[cfg(feature = "real-clients")]
mod bst_full;
#[cfg(feature = "real-clients")]
mod bst_import;
#[cfg(feature = "real-clients")]
mod bst_jwt;
#[cfg(feature = "real-clients")]
mod bst_letting_go;
#[cfg(feature = "real-clients")]
mod bst_outage;
#[cfg(feature = "real-clients")]
mod bst_pins;
#[cfg(feature = "real-clients")]
mod bst_read_only;
#[cfg(feature = "real-clients")]
mod bst_teams;
#[cfg(feature = "real-clients")]
mod bst_tls;
mod clock_jumps;
mod company;
mod config;
#[cfg(feature = "real-clients")]
mod content;
mod copy;
mod copy_hostile;
#[cfg(feature = "real-clients")]
mod docker;
mod doctor;
mod du;
mod fsck;
#[cfg(feature = "real-clients")]
mod full_disk;
mod full_volume;
#[cfg(feature = "real-clients")]
mod guide;
mod health;
mod helm;
mod hostile;
mod issued;
mod issuer;
mod jwt;
mod keys;
mod kill;
mod large_blob;
mod limits;
mod listeners;
#[cfg(feature = "real-clients")]
mod loop_disk;
mod names;
mod otlp;
mod pins;
#[cfg(feature = "real-clients")]
mod power_cut;
#[cfg(feature = "real-clients")]
mod project;
mod reload;
mod retention;
#[cfg(feature = "real-clients")]
mod reverse_proxies;
#[cfg(feature = "real-clients")]
mod roundtrip;
mod serve;
mod server;
mod settings;
mod setup;
#[cfg(feature = "real-clients")]
mod slow_disk;
#[cfg(feature = "real-clients")]
mod small_volume;
mod systemd;
mod tls;
mod tokens;
#[cfg(feature = "real-clients")]
mod tree;
mod two_ports;
mod upgrade;
mod watch;
#[cfg(feature = "real-clients")]
mod without_assets;
