//! One call to a server, as any client makes its first: whether it answers, and how soon.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millpond_proto::reapi::GetCapabilitiesRequest;

use crate::wire::{Call, Connection, Expect, Server, Target, method};
use crate::{Credentials, Error};

/// A server that answered.
#[derive(Clone, Copy, Debug)]
pub struct Probed {
    /// How long it took to connect, with the TLS handshake if there is one.
    pub connected: Duration,
    /// How long the first call took.
    pub answered: Duration,
    /// It wants to know who asks.
    pub wants_credential: bool,
}

/// Asks a server what it can, within so much time; connects to `at` instead of what its name stands for, if that is given.
///
/// # Errors
/// Credentials that cannot be used, and a server that does not answer.
pub fn probe(
    target: &Target,
    at: Option<SocketAddr>,
    credentials: &Credentials,
    within: Duration,
) -> Result<Probed, Error> {
    let server = Server::new(target, credentials)?;
    let server = match at {
        Some(address) => server.at(address),
        None => server,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async { tokio::time::timeout(within, ask(&server)).await });
    // A name that is still being looked up must not be waited for.
    runtime.shutdown_background();
    let unreachable = |message| Error::Unreachable { url: target.to_string(), message };
    asked.map_err(|_| unreachable(format!("no answer within {} s", within.as_secs())))?.map_err(unreachable)
}

async fn ask(server: &Server) -> Result<Probed, String> {
    let call = Call::new(method::CAPABILITIES, &GetCapabilitiesRequest::default(), Expect::Done);
    let begun = Instant::now();
    let mut connection = Connection::open(server).await.map_err(|failure| failure.message)?;
    let connected = begun.elapsed();
    let asked = connection.call(&call).await;
    let wants_credential = match asked {
        Ok(()) => false,
        Err(failure) if failure.is_refused() => true,
        Err(failure) => return Err(format!("{}: {}", failure.code, failure.message)),
    };
    Ok(Probed { connected, answered: begun.elapsed() - connected, wants_credential })
}
