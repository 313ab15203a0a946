//! The administration socket: connections from this machine, each from a user whom the kernel names.
//!
//! **Invariant:** nobody is served but the user that the server runs as, and root, whatever the socket's mode is.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::now_and_then;
use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{self, Settings};
use crate::layers::Calls;

/// Operators and their scripts are few.
const CONNECTIONS_MAX: usize = 64;
/// How long to wait after a failed accept, as elsewhere.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A bound socket for [`run`].
pub(crate) fn socket(socket: UnixListener) -> io::Result<tokio::net::UnixListener> {
    socket.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(socket)
}

/// Serves whoever connects and may, until told to stop; then waits for the connections to end.
pub(crate) async fn run(socket: tokio::net::UnixListener, calls: Calls, settings: Settings) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut stopped = settings.stopped.clone();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&socket, &permits) => {
                if let Some((stream, permit)) = accepted
                    && let Some(user) = user(&stream)
                {
                    let connection = connection::serve_local(stream, user, calls.clone(), settings.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    socket: &tokio::net::UnixListener,
    permits: &Arc<Semaphore>,
) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection to the administration socket could not be accepted");
            sleep(AFTER_FAILURE).await;
            None
        }
    }
}

/// Who is at the other end, if they may administer.
fn user(stream: &UnixStream) -> Option<u32> {
    let user = stream.peer_cred().ok()?.uid();
    if user == 0 || user == geteuid().as_raw() {
        return Some(user);
    }
    now_and_then!(warn, user, "a user of this machine may not administer this server");
    None
}
