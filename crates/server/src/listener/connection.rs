//! One connection: HTTP settings, and how it ends.
//!
//! **Invariant:** a client's pings are answered and never punished: BuildStream 1.6 sends one each 60 s, BuildStream 2
//! as often as its user says, and gRPC's own bandwidth probes come in quick succession. A connection that never asks
//! anything ends; one that was told to end does so within the drain time.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Options;
use crate::layers::Calls;

/// What a client may send on one stream before we have taken it in. HTTP/2's own 64 KiB would make a fast link wait.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same on all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// HTTP/2's own 16 KiB would cut a message of 1 MiB into 64 frames.
const FRAME_BYTES_MAX: u32 = 1024 * 1024;
/// What one stream may hold that is not sent yet.
const SEND_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// More than the longest token and metadata.
const HEADER_BYTES_MAX: u32 = 32 * 1024;
/// How often we ask whether a quiet HTTP/2 client is still there, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(120);
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after connecting the first request may come.
const FIRST_REQUEST: Duration = Duration::from_secs(60);
/// How long an HTTP/1 client may take for its headers, and idle between requests.
const HTTP1_HEADERS: Duration = Duration::from_secs(60);

/// What all connections of a server share.
#[derive(Clone)]
pub(crate) struct Settings {
    http: Arc<Builder<TokioExecutor>>,
    drain: Duration,
    /// Becomes true when the server is to end.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Settings {
    /// Settings for a server with these limits.
    pub(crate) fn new(options: &Options, stopped: watch::Receiver<bool>) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(HTTP1_HEADERS);
        http.http2()
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_concurrent_streams(options.streams_max)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http: Arc::new(http), drain: options.drain, stopped }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(stream: TcpStream, calls: Calls, mut settings: Settings) {
    let Ok(peer) = stream.peer_addr() else { return };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    let calls = calls.on_connection(peer);
    let service = TowerToHyperService::new(calls.clone());
    let mut connection = pin!(settings.http.serve_connection(TokioIo::new(stream), service));
    let first_request = Instant::now() + FIRST_REQUEST;
    let mut asked = false;
    let mut end: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = error.as_ref(), "a connection broke");
                }
                return;
            }
            _ = settings.stopped.wait_for(|stopped| *stopped), if end.is_none() => {
                connection.as_mut().graceful_shutdown();
                end = Some(Instant::now() + settings.drain);
            }
            () = sleep_until(first_request), if !asked && end.is_none() => {
                asked = calls.has_been_asked();
                if !asked {
                    connection.as_mut().graceful_shutdown();
                    end = Some(Instant::now() + settings.drain);
                }
            }
            () = until(end) => {
                tracing::debug!(%peer, "a connection was cut with calls under way");
                return;
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}
