//! The administration socket: connections from this machine, each from a user whom the kernel names.
//!
//! **Invariant:** nobody is served but the user that the server runs as, and root, whatever the socket's mode is.

use std::io;
use std::sync::Arc;

use millpond_cache::now_and_then;
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::accept;
use super::connection::{self, Settings};
use crate::layers::Calls;

/// Operators and their scripts are few.
const CONNECTIONS_MAX: usize = 64;

/// A bound socket for [`run`].
pub(crate) fn socket(socket: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// Serves whoever connects and may, until told to stop; then waits for the connections to end.
pub(crate) async fn run(socket: UnixListener, calls: Calls, settings: Settings) {
    let (permits, stopped) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), settings.stopped.clone());
    let serve = |stream| {
        let user = user(&stream)?;
        Some(connection::serve_local(stream, user, calls.clone(), settings.clone()))
    };
    accept::run(socket, permits, stopped, serve).await;
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
