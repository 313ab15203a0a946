//! What the batteries share: clients that push at gRPC level, a ledger of what they were told, and a reader that holds
//! the server to it.
//!
//! `MILLPOND_SEED` repeats a run's random choices (not its moments, which are the machine's); each run prints its seed.

mod artifact;
mod client;
mod content;
mod ledger;
mod random;
mod tree;
mod verify;
mod volume;
mod writers;

#[cfg(feature = "real-clients")]
pub(crate) use artifact::Publish;
pub(crate) use artifact::Pushed;
pub(crate) use client::Client;
pub(crate) use content::{Blob, digest_of};
pub(crate) use ledger::Ledger;
#[cfg(feature = "real-clients")]
pub(crate) use ledger::Moment;
pub(crate) use ledger::Name;
pub(crate) use random::Random;
pub(crate) use verify::{Totals, verify as hold};
pub(crate) use volume::Volume;
pub(crate) use writers::bystander;

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(words) => words.parse().unwrap_or_else(|_| panic!("{name}={words} is not a number")),
        Err(_) => default,
    }
}

/// The random choices of this run.
pub(crate) fn seeded(battery: &str) -> Random {
    let seed = setting("MILLPOND_SEED", random::any_seed());
    eprintln!("{battery}: MILLPOND_SEED={seed}");
    Random::new(seed)
}
