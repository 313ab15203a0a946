//! Accepts connections: one task for each, no more of them than there are permits.
//!
//! **Invariant:** an accepted connection holds a permit until it ends. Who finds no permit waits in the kernel's queue,
//! and takes nothing from those who are served.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use millpond_cache::Limit;

use super::connection::{self, Door};

/// How long to wait after a failed accept: the usual cause is that this process has no file descriptor left, and
/// trying at once would find none either.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A socket that is listened on.
pub(crate) trait Socket {
    /// A connection.
    type Stream;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Socket for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(Self::accept(self).await?.0)
    }
}

impl Socket for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(Self::accept(self).await?.0)
    }
}

/// A bound socket for [`at_door`].
pub(crate) fn socket(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Serves whoever the door lets in, until told to stop; then waits for the connections to end, which has a deadline.
pub(crate) async fn at_door(socket: TcpListener, door: Arc<Door>, permits: Arc<Semaphore>) {
    let stopped = door.settings.now().stopped.clone();
    let serve = |stream| Some(connection::serve(door.admit(stream)?, Arc::clone(&door)));
    run(socket, permits, stopped, serve).await;
}

/// Has each connection served, if `serve` takes it, until told to stop; then waits for the connections to end.
pub(super) async fn run<S, Connection>(
    socket: S,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
    serve: impl Fn(S::Stream) -> Option<Connection>,
) where
    S: Socket,
    Connection: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&socket, &permits) => {
                if let Some((stream, permit)) = accepted
                    && let Some(connection) = serve(stream)
                {
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

async fn accept<S: Socket>(
    socket: &S,
    permits: &Arc<Semaphore>,
) -> Option<(S::Stream, OwnedSemaphorePermit)> {
    let permit = match Arc::clone(permits).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            Limit::Connections.met();
            Arc::clone(permits).acquire_owned().await.ok()?
        }
    };
    match socket.accept().await {
        Ok(stream) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(AFTER_FAILURE).await;
            None
        }
    }
}
