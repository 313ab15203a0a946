//! Listeners and protocol services: wire to domain and back.
//!
//! **Invariant:** nothing is decided here. A service parses what came in, asks the [`Cache`] with a permit, and puts the
//! answer into wire messages; every error becomes words in `status.rs`. What single generations of clients need stands
//! in `quirks`.

mod acme;
mod admin;
mod caller;
mod changes;
mod deadline;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grpc;
mod http;
mod identity;
mod layers;
mod listener;
mod location;
mod memory;
mod metrics;
mod name_line;
mod otlp;
mod quirks;
mod quota;
mod request_metadata;
mod resource_name;
mod said;
mod status;
mod trust;
mod upstream;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_cache::{Bounds, Cache, Rights};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use crate::acme::answers::{Answers, listen as answer_challenges};
pub use crate::acme::{Acme, AcmeWanted, ChallengeKind};
pub use crate::admin::backup::{told as backup_steps, totals as backup_totals};
pub use crate::admin::check::{told as check_findings, totals as check_totals};
pub use crate::admin::log::LogControl;
pub use crate::admin::reload::{ChangedSetting, ReloadAsked, ReloadControl, Reloaded};
use crate::admin::{About, Admin, Listening};
use crate::changes::Changes;
pub use crate::identity::{Credentials, TrustedIssuer};
use crate::layers::Calls;
use crate::listener::addresses::Addresses;
use crate::listener::connection::Door;
pub use crate::listener::proxy::Proxies;
pub use crate::listener::tls::{Tls, TlsError};
pub use crate::location::Location;
use crate::metrics::Metrics;
use crate::otlp::Exporter;
pub use crate::otlp::Otlp;
pub use crate::quota::Quota;
pub use crate::said::chain;
pub use crate::upstream::channel::url_with_tls;

/// A bound socket, and what may be done there at most.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// What clients may do that come this way.
    pub bounds: Bounds,
    /// How TLS is spoken; `None` for plain text.
    pub tls: Option<Arc<Tls>>,
    /// Those in front of it.
    pub proxies: Proxies,
    /// Writes of clients that may only pull are answered as if they were kept, and thrown away.
    pub drops_writes: bool,
}

impl Listener {
    fn listening(&self) -> io::Result<Listening> {
        Ok(Listening { address: self.socket.local_addr()?, tls: self.tls.is_some(), bounds: self.bounds })
    }
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
    /// The data directory, as metrics and the status name it.
    pub data: String,
    /// Every push is refused, which the bounds of the listeners see to; the status says so.
    pub read_only: bool,
    /// For how long a client may take nothing of an answer.
    pub unread: Duration,
    /// For how long a connection may ask nothing. Longer than clients that come back to one keep it.
    pub idle: Duration,
    /// How many bytes of requests may be held in memory, by all calls together, what connections have of their own
    /// apart. At least 96 MiB.
    pub request_memory: u64,
    /// The largest message, in bytes: from 5 to 16 MiB.
    pub message_size: u32,
    /// The largest headers of a request, in bytes.
    pub header_size: u32,
    /// How long a TLS handshake, and a proxy's header, may take.
    pub handshake: Duration,
    /// For how long a request that is under way may bring nothing.
    pub upload_quiet: Duration,
    /// What a request has to bring that holds memory, in bytes a second.
    pub upload_rate: u32,
    /// What single identities may take up; the first that matches counts.
    pub quotas: Vec<Quota>,
    /// How what is logged is changed while the server runs.
    pub log: LogControl,
    /// Who takes up what has changed in the configuration.
    pub reload: ReloadControl,
    /// Who is told of calls and figures, and of which.
    pub otlp: Option<Otlp>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address: usize::MAX,
            streams_max: 1_000,
            drain: Duration::from_secs(10),
            data: String::new(),
            read_only: false,
            unread: Duration::from_secs(300),
            idle: Duration::from_secs(30 * 60),
            request_memory: 256 * 1024 * 1024,
            message_size: 16 << 20,
            header_size: 32 << 10,
            handshake: Duration::from_secs(10),
            upload_quiet: Duration::from_secs(300),
            upload_rate: 16 << 10,
            quotas: Vec::new(),
            log: LogControl::default(),
            reload: ReloadControl::default(),
            otlp: None,
        }
    }
}

/// A server that is running.
#[derive(Debug)]
pub struct Server {
    tasks: JoinSet<()>,
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    changes: Changes,
    exporter: Option<Exporter>,
}

impl Server {
    /// Starts serving `cache` on `listeners`, to whom `credentials` knows, until `shutdown` completes, then lets calls
    /// under way end. Metrics are served in plain HTTP on `metrics`, which should not be reachable from elsewhere; on
    /// `admin` root and the user of this process administer it, and on listeners whose bounds say so who has the right to.
    /// Needs a tokio runtime.
    pub fn start(
        listeners: Vec<Listener>,
        metrics: Option<TcpListener>,
        admin: Option<UnixListener>,
        cache: Arc<Cache>,
        credentials: Arc<Credentials>,
        options: &Options,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Metrics::new(&options.data, credentials.metrics()));
        let (router, health) = grpc::router(&cache, options.idle);
        let changes = Changes::new(options, cache.look_up_time(), stopped);
        let Changes { settings, memory, quotas, permits, addresses: addresses_connected, stopped, .. } =
            &changes;
        let exporter = options.otlp.as_ref().map(|otlp| Exporter::start(otlp, &cache, &counts));
        let spans = exporter.as_ref().and_then(Exporter::spans);
        let mut tasks = JoinSet::new();
        let listening = listeners.iter().map(Listener::listening).collect::<io::Result<Vec<_>>>()?;
        let addresses = listening.iter().map(|listening| listening.address).collect();
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        let about = About {
            started: Instant::now(),
            data: options.data.clone(),
            read_only: options.read_only,
            listeners: listening,
            metrics_address,
            metrics: Arc::clone(&counts),
            log: options.log.clone(),
            reload: options.reload.clone(),
        };
        let administration = Arc::new(Admin::new(Arc::clone(&cache), about));
        for Listener { socket, bounds, tls, proxies, drops_writes } in listeners {
            let credentials = Arc::clone(&credentials);
            let mut services = router.clone();
            if bounds.most == Rights::Admin {
                services = services.merge(grpc::admin_routes(&administration));
            }
            let calls = Calls::new(services, bounds, credentials, Arc::clone(&counts), Arc::clone(memory));
            let dropping = drops_writes.then(grpc::dropping_router);
            let calls = calls
                .dropping(dropping)
                .within(Arc::clone(quotas))
                .audited_by(Arc::clone(&cache))
                .traced_by(spans.clone());
            let socket = listener::accept::socket(socket)?;
            let (settings, addresses) = (Arc::clone(settings), Arc::clone(addresses_connected));
            let door = Arc::new(Door { tls, proxies, calls, settings, addresses });
            tasks.spawn(listener::accept::at_door(socket, door, Arc::clone(permits)));
        }
        let apart = |router, bounds| {
            Calls::new(router, bounds, Arc::default(), Arc::new(Metrics::default()), Arc::clone(memory))
        };
        if let Some(socket) = admin {
            let calls = apart(grpc::admin_router(&administration, &health, options.idle), Bounds::ADMIN_ONLY);
            tasks.spawn(listener::local::run(
                listener::local::socket(socket)?,
                calls,
                (*settings.now()).clone(),
            ));
        }
        if let Some(socket) = metrics {
            let pages = http::metrics::router(Arc::clone(&cache), Arc::clone(&counts));
            let calls = apart(pages, Bounds::PULL_ONLY);
            let permits = Arc::new(Semaphore::new(http::metrics::CONNECTIONS_MAX));
            let socket = listener::accept::socket(socket)?;
            let (settings, addresses) = (Arc::clone(settings), Addresses::new(usize::MAX));
            let door = Door { tls: None, proxies: Proxies::default(), calls, settings, addresses };
            tasks.spawn(listener::accept::at_door(socket, Arc::new(door), permits));
        }
        let told = Arc::clone(&cache);
        tasks.spawn(follow_issuers(credentials, stopped.clone()));
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown => {}
                () = grpc::say_how_the_disk_is(&health, &told) => {}
            }
            grpc::say_not_serving(&health).await;
            stop.send_replace(true);
        });
        Ok(Self { tasks, addresses, metrics_address, changes, exporter })
    }

    /// Where the listeners listen, in the order given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Takes up other limits: all but the memory of requests, the data directory, whether pushes are refused, and who is asked to
    /// change things. Connections that are there keep what is of a connection: its streams, headers and times.
    pub fn change(&self, options: &Options, cache: &Cache) {
        self.changes.change(options, cache.look_up_time());
    }

    /// Completes when the shutdown is through: no connection is left, and nothing holds the cache any more.
    pub async fn finished(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the server ended before its time");
            }
        }
        if let Some(exporter) = self.exporter.take() {
            exporter.finish().await;
        }
    }
}

/// Until the server is to end: calls that end after that need no newer keys.
async fn follow_issuers(credentials: Arc<Credentials>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = credentials.follow_issuers() => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}
