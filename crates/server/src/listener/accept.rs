//! Accepts connections: one task for each, no more of them than there are permits.
//!
//! **Invariant:** an accepted connection holds a permit until it ends. Who finds no permit waits in the kernel's queue,
//! and takes nothing from those who are served.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::connection::{self, Door};

/// How long to wait after a failed accept: the usual cause is that this process has no file descriptor left, and
/// trying at once would find none either.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A bound socket for [`run`].
pub(crate) fn socket(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Serves whoever connects, until told to stop; then waits for the connections to end, which has a deadline.
pub(crate) async fn run(socket: TcpListener, door: Arc<Door>, permits: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    let mut stopped = door.settings.stopped.clone();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&socket, &permits) => {
                if let Some((stream, permit)) = accepted
                    && let Some(arrival) = door.admit(stream)
                {
                    let connection = connection::serve(arrival, Arc::clone(&door));
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

async fn accept(socket: &TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(AFTER_FAILURE).await;
            None
        }
    }
}
