//! gRPC as a client speaks it, with requests encoded beforehand: on a machine that client and server share, what the
//! client does while it measures is taken from the server.

mod call;
mod connection;
mod expect;
mod reply;
mod tally;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use call::{Call, method};
pub(crate) use connection::Connection;
pub(crate) use expect::Expect;
pub use target::Target;
