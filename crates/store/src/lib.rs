//! Bytes and rows on one volume: blobs in packs, and the catalog of names.
//!
//! The store offers mechanism: append, raise, sync, read, commit a row. It knows neither gRPC nor BuildStream nor
//! what a name means, and it does not know the order in which its calls make a promise: that is the domain's.
//!
//! **Invariant:** `audit`, `blobs` and `catalog` never import each other.

pub mod audit;
pub mod blobs;
pub mod catalog;
mod changing;
mod clock;
mod digest;
pub mod disk;
mod durations;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod level;
mod random;
mod slots;
mod throttle;

pub use changing::Changing;
pub use clock::Clock;
pub use digest::{Digest, DigestError, DigestFunction, Hasher};
pub use durations::{BOUNDS as DURATION_BOUNDS, Durations, Took};
pub use error::{Error, Held, Result};
pub use level::Level;
pub use slots::Slots;
pub use throttle::Throttle;
