//! Listeners and protocol services: wire to domain and back.
//!
//! **Invariant:** nothing is decided here. A service parses what came in, asks the [`Cache`] with a permit, and puts the
//! answer into wire messages; every error becomes words in `status.rs`. What single generations of clients need stands
//! in `quirks`.

mod caller;
mod deadline;
mod grpc;
mod http;
mod identity;
mod layers;
mod listener;
mod memory;
mod metrics;
mod quirks;
mod resource_name;
mod status;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Bounds, Cache};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use crate::identity::Credentials;
use crate::layers::Calls;
use crate::listener::addresses::Addresses;
use crate::listener::connection::Settings;
pub use crate::listener::tls::{Tls, TlsError};
use crate::memory::Memory;
use crate::metrics::Metrics;

/// A bound socket, and what may be done there at most.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// What clients may do that come this way.
    pub bounds: Bounds,
    /// How TLS is spoken; `None` for plain text.
    pub tls: Option<Arc<Tls>>,
}

/// Limits of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many connections at the same time, on all listeners together. The next ones wait to be accepted.
    pub connections_max: usize,
    /// How many of them from one IP address. What comes beyond that is closed at once.
    pub connections_per_address: usize,
    /// How many calls at the same time on one connection.
    pub streams_max: u32,
    /// For how long calls under way may go on after the shutdown began.
    pub drain: Duration,
    /// The data directory, as metrics name it.
    pub data: String,
    /// For how long a client may take nothing of an answer.
    pub unread: Duration,
    /// For how long a connection may ask nothing. Longer than clients that come back to one keep it.
    pub idle: Duration,
    /// How many bytes of requests may be held in memory, by all calls together, what connections have of their own
    /// apart. At least 96 MiB.
    pub request_memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address: usize::MAX,
            streams_max: 1_000,
            drain: Duration::from_secs(10),
            data: String::new(),
            unread: Duration::from_secs(300),
            idle: Duration::from_secs(30 * 60),
            request_memory: 256 * 1024 * 1024,
        }
    }
}

/// A server that is running.
#[derive(Debug)]
pub struct Server {
    tasks: JoinSet<()>,
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
}

impl Server {
    /// Starts serving `cache` on `listeners`, to whom `credentials` knows, until `shutdown` completes, then lets calls
    /// under way end. Metrics are served in plain HTTP on `metrics`, which should not be reachable from elsewhere. Needs a
    /// tokio runtime.
    pub fn start(
        listeners: Vec<Listener>,
        metrics: Option<TcpListener>,
        cache: Arc<Cache>,
        credentials: Arc<Credentials>,
        options: &Options,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Metrics::new(&options.data));
        let (router, health) = grpc::router(&cache);
        let settings = Settings::new(options, stopped);
        let memory = Arc::new(Memory::new(options.request_memory, cache.look_up_time()));
        let permits = Arc::new(Semaphore::new(options.connections_max));
        let addresses_connected = Addresses::new(options.connections_per_address);
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for Listener { socket, bounds, tls } in listeners {
            addresses.push(socket.local_addr()?);
            let credentials = Arc::clone(&credentials);
            let calls =
                Calls::new(router.clone(), bounds, credentials, Arc::clone(&counts), Arc::clone(&memory));
            let socket = listener::accept::socket(socket)?;
            tasks.spawn(listener::accept::run(
                socket,
                tls,
                calls,
                settings.clone(),
                Arc::clone(&permits),
                Arc::clone(&addresses_connected),
            ));
        }
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(socket) = metrics {
            let pages = http::metrics::router(Arc::clone(&cache), Arc::clone(&counts));
            let nobody = Arc::new(Credentials::default());
            let calls = Calls::new(pages, Bounds::PULL_ONLY, nobody, Arc::new(Metrics::default()), memory);
            let permits = Arc::new(Semaphore::new(http::metrics::CONNECTIONS_MAX));
            let socket = listener::accept::socket(socket)?;
            tasks.spawn(listener::accept::run(
                socket,
                None,
                calls,
                settings.clone(),
                permits,
                Addresses::new(usize::MAX),
            ));
        }
        tasks.spawn(async move {
            grpc::say_serving(&health).await;
            shutdown.await;
            grpc::say_not_serving(&health).await;
            stop.send_replace(true);
        });
        Ok(Self { tasks, addresses, metrics_address })
    }

    /// Where the listeners listen, in the order given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Completes when the shutdown is through: no connection is left, and nothing holds the cache any more.
    pub async fn finished(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the server ended before its time");
            }
        }
    }
}
