//! What a server is, for whoever asks how it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use millpond_cache::{Bounds, Figures};
use millpond_proto::admin::{Listener, ServerStatus, Volume};

use super::log::LogControl;
use super::reload::ReloadControl;
use crate::metrics::Metrics;

/// What does not change while a server runs, and where to look for what does.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) started: Instant,
    /// The data directory.
    pub(crate) data: String,
    pub(crate) read_only: bool,
    pub(crate) listeners: Vec<Listening>,
    /// Where metrics are served.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Of all listeners.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: LogControl,
    pub(crate) reload: ReloadControl,
}

/// An address where clients are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) bounds: Bounds,
}

impl About {
    /// How it is, with these figures of its cache.
    pub(super) fn status(&self, figures: Figures) -> ServerStatus {
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or_default();
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            process_id: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            data: self.data.clone(),
            listeners: self.listeners.iter().copied().map(Listening::to_wire).collect(),
            metrics: self.metrics_address.map(|address| address.to_string()).unwrap_or_default(),
            read_only: self.read_only,
            connections: count(self.metrics.connections.get()),
            calls: count(self.metrics.calls_in_flight.get()),
            poisoned: figures.poisoned.clone().unwrap_or_default(),
            volume: Some(volume(&figures)),
        }
    }
}

/// How full it is, and what was let go.
pub(super) fn volume(figures: &Figures) -> Volume {
    Volume {
        limit_bytes: figures.limit_bytes,
        used_bytes: figures.used_bytes,
        live_bytes: figures.live_bytes,
        free_bytes: figures.volume_free_bytes,
        blobs: figures.blobs,
        names: figures.names,
        pending_names: figures.pending_names,
        waterline: figures.waterline,
        lease_seconds: figures.lease_seconds,
        lease_set_seconds: figures.lease_set_seconds,
        names_let_go: figures.names_let_go,
        bytes_let_go: figures.bytes_let_go,
        let_go_lookups: figures.let_go_lookups,
        unknown_lookups: figures.unknown_lookups,
        pending_lookups: figures.pending_lookups,
        ballast_bytes: figures.ballast_bytes,
        disk_silent_ms: figures.disk_silent_ms,
        full: figures.is_full,
        scrubbed_bytes: figures.scrubbed_bytes,
        scrubbed_bad: figures.scrubbed_bad,
        scrubbed_all: figures.scrubbed_all,
    }
}

impl Listening {
    fn to_wire(self) -> Listener {
        Listener {
            address: self.address.to_string(),
            tls: self.tls,
            allow: self.bounds.most.to_string(),
            anonymous: self.bounds.anonymous.to_string(),
        }
    }
}
