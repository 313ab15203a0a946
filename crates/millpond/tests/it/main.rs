//! The end-to-end tests: the `millpond` program as users run it, and what they run against it.
//!
//! The modules that need real BuildStream clients are compiled with the feature `real-clients`;
//! `scripts/test-clients` makes these clients. A version for which this machine has no Python is left out, and that
//! script says so.
#![cfg(test)]

mod battery;
#[cfg(feature = "real-clients")]
mod bst;
#[cfg(feature = "real-clients")]
mod bst1;
#[cfg(feature = "real-clients")]
mod bst2;
#[cfg(feature = "real-clients")]
mod bst2_sandbox;
#[cfg(feature = "real-clients")]
mod content;
mod kill;
#[cfg(feature = "real-clients")]
mod project;
mod serve;
mod server;
#[cfg(feature = "real-clients")]
mod tree;
