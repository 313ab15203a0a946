//! One connection: HTTP settings, and how it ends.
//!
//! **Invariant:** a client's pings are answered and never punished: BuildStream 1.6 sends one each 60 s, BuildStream 2
//! as often as its user says, and gRPC's own bandwidth probes come in quick succession.
//!
//! **Nobody stays by being slow.** A connection that asks nothing is told to go, after a minute if it never asked
//! anything; one that was told to go ends within the drain time, or after the calls that crossed that. A client that takes nothing of an answer loses the call
//! (`answers`), one that takes nothing at all from its socket loses the connection.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use millpond_cache::{Changing, Limit, now_and_then};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::addresses::{Addresses, Place};
use super::answers::Executor;
use super::proxy::Proxies;
use super::tls::{self, Tls};
use crate::Options;
use crate::identity::ConnectionIdentity;
use crate::identity::forwarded::Forwarded;
use crate::layers::Calls;
use crate::memory::{UNREAD_STREAMS_MAX, WINDOW_BYTES};
use crate::said::Said;

/// What a client may send on all streams before we have taken it in. HTTP/2's own 64 KiB would make a fast link wait;
/// `memory` says what it costs. It is more than that of one stream, or one that is not read would hold up all others.
const CONNECTION_WINDOW_BYTES: u32 = WINDOW_BYTES * UNREAD_STREAMS_MAX as u32;
/// HTTP/2's own 16 KiB would cut a message of 1 MiB into 64 frames; but each connection may hold one that is not whole.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// What one stream may hold that is not sent yet.
const SEND_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// How often we ask whether a quiet HTTP/2 client is still there, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(120);
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// What an HTTP/1 client may send that is not read yet, its headers included.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;
/// How long an HTTP/1 client may take for its headers, and idle between requests.
const HTTP1_HEADERS: Duration = Duration::from_secs(60);

/// Of handshakes that came to nothing.
static SAID: Said = Said::new();

/// What all connections of a server share.
#[derive(Clone)]
pub(crate) struct Settings {
    http: Arc<Builder<Executor>>,
    drain: Duration,
    unread: Duration,
    idle: Duration,
    handshake: Duration,
    /// Becomes true when the server is to end.
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Settings {
    /// Settings for a server with these limits.
    pub(crate) fn new(options: &Options, stopped: watch::Receiver<bool>) -> Self {
        let mut http = Builder::new(Executor { patience: options.unread });
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HTTP1_HEADERS)
            .max_buf_size(HTTP1_BUFFER_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_header_list_size(options.header_size)
            .max_concurrent_streams(options.streams_max)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let Options { drain, unread, idle, handshake, .. } = *options;
        Self { http: Arc::new(http), drain, unread, idle, handshake, stopped }
    }
}

/// What a listener has for each of its connections.
pub(crate) struct Door {
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) proxies: Proxies,
    pub(crate) calls: Calls,
    /// Of connections that come from now on.
    pub(crate) settings: Arc<Changing<Settings>>,
    pub(crate) addresses: Arc<Addresses>,
}

/// A connection that has come in.
pub(crate) struct Arrival {
    stream: TcpStream,
    /// Who has connected.
    peer: SocketAddr,
    /// Among the connections of its address, unless it is a proxy: that has those of all its clients.
    place: Option<Place>,
}

impl Door {
    /// Lets a connection in, unless its address has as many as it may have.
    pub(crate) fn admit(&self, stream: TcpStream) -> Option<Arrival> {
        let peer = stream.peer_addr().ok()?;
        let is_proxy = self.proxies.are(peer.ip());
        let place = if is_proxy { None } else { Some(self.place(peer)?) };
        Some(Arrival { stream, peer, place })
    }

    fn place(&self, client: SocketAddr) -> Option<Place> {
        let ip = client.ip().to_canonical();
        let place = self.addresses.place(ip);
        if place.is_none() {
            self.calls.count_refused_connection();
            Limit::ConnectionsPerAddress.met();
            now_and_then!(info, %ip, "an address has as many connections as it may have");
        }
        place
    }

    /// What a proxy that has connected says of its client, if it says something.
    async fn announced(&self, arrival: Arrival) -> Option<Arrival> {
        let Arrival { mut stream, peer, .. } = arrival;
        let client = match self.proxies.client(&mut stream, peer, self.settings.now().handshake).await {
            Ok(client) => client,
            Err(error) => {
                self.calls.count_refused_connection();
                now_and_then!(warn, %peer, error, "a proxy's connection has no header of the PROXY protocol");
                return None;
            }
        };
        let place = if client == peer { None } else { Some(self.place(client)?) };
        Some(Arrival { stream, peer: client, place })
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(arrival: Arrival, door: Arc<Door>) {
    let settings = door.settings.now();
    let mut stopped = settings.stopped.clone();
    let is_proxy = arrival.place.is_none();
    let arrival = if is_proxy {
        tokio::select! {
            announced = door.announced(arrival) => announced,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    } else {
        Some(arrival)
    };
    let Some(Arrival { stream, peer, place: _place }) = arrival else { return };
    let forwarded = if is_proxy { door.proxies.forwarded() } else { Forwarded::default() };
    let Door { tls, calls, .. } = &*door;
    prepare(&stream, settings.unread);
    let Some(tls) = tls else {
        let calls = calls.on_connection(Some(peer), ConnectionIdentity::default().behind(forwarded));
        return serve_http(stream, Some(peer), calls, Settings::clone(&settings)).await;
    };
    let shaken = tokio::select! {
        shaken = tls.accept(stream, settings.handshake) => shaken,
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    match shaken {
        Ok(stream) => {
            let identity = ConnectionIdentity::of_chain(tls::client_chain(&stream)).behind(forwarded);
            let calls = calls.on_connection(Some(peer), identity);
            serve_http(stream, Some(peer), calls, Settings::clone(&settings)).await;
        }
        Err(error) => {
            if !error.is_wanted() {
                calls.count_failed_handshake();
            }
            if let Some(left_out) = SAID.pass(Some(peer.ip().to_canonical()), "", error.outcome) {
                let left_out = (left_out > 0).then_some(left_out);
                let what =
                    if error.is_wanted() { "a TLS handshake was all" } else { "a TLS handshake failed" };
                tracing::info!(left_out, %peer, %error, "{what}");
            }
        }
    }
}

/// Serves a connection from this user of this machine to its end.
pub(crate) async fn serve_local(stream: UnixStream, user: u32, calls: Calls, settings: Settings) {
    let calls = calls.on_connection(None, ConnectionIdentity::of_user(user));
    serve_http(stream, None, calls, settings).await;
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Option<SocketAddr>,
    calls: Calls,
    mut settings: Settings,
) {
    let service = TowerToHyperService::new(calls.clone());
    let mut connection = pin!(settings.http.serve_connection(TokioIo::new(stream), service));
    let activity = calls.activity();
    let mut stay = activity.may_stay_until(settings.idle);
    let mut end: Option<Instant> = None;
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(?peer, error = error.as_ref(), "a connection broke");
                }
                return;
            }
            _ = settings.stopped.wait_for(|stopped| *stopped), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
                end = Some(Instant::now() + settings.drain);
            }
            () = sleep_until(stay), if end.is_none() => {
                stay = activity.may_stay_until(settings.idle);
                if stay <= Instant::now() {
                    Limit::Idle.met();
                    connection.as_mut().graceful_shutdown();
                    end = Some(Instant::now() + settings.drain);
                }
            }
            () = until(end) => {
                // A call may have come while the client was being told to go.
                if !stopping && activity.is_busy() {
                    end = Some(Instant::now() + settings.drain);
                    continue;
                }
                tracing::debug!(?peer, "a connection was cut with calls under way");
                return;
            }
        }
    }
}

/// Answers are many small packets; and the kernel ends a connection whose other side takes nothing for so long.
fn prepare(stream: &TcpStream, unread: Duration) {
    let milliseconds = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
    let prepared = stream.set_nodelay(true).and_then(|()| Ok(set_tcp_user_timeout(stream, milliseconds)?));
    if let Err(error) = prepared {
        tracing::debug!(%error, "an option of a socket could not be set");
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}
