//! gRPC as a client speaks it, with requests encoded beforehand: on a machine that client and server share, what the
//! client does while it measures is taken from the server.

mod call;
mod connection;
mod expect;
mod reply;
mod server;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use call::{Call, method};
pub(crate) use connection::{Connection, Opening};
pub(crate) use expect::Expect;
pub(crate) use server::Server;
pub use target::Target;
