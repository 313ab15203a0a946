//! Making keys, certificates and tokens, and entering them in the register.

mod client;
mod names;
mod server;
mod signing;
mod token;

pub use client::{client, renew_client};
pub use server::{init, renew_server};
pub use token::token;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Days that a server's certificate is valid, where nothing else is asked for: as long as the strictest clients take.
pub const SERVER_DAYS: u32 = 825;
/// Days that a client's certificate or token is valid, where nothing else is asked for.
pub const CLIENT_DAYS: u32 = 365;
/// Days that the CA is valid at least.
const CA_DAYS: u32 = 3650;

/// The last second of so many days from `now`, in Unix seconds.
fn after(now: u64, days: u32) -> u64 {
    now.saturating_add(u64::from(days) * DAY)
}
