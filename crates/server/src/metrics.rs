//! What is counted: name, unit and help of every metric.
//!
//! **Invariant:** no label has a value that a client chose.

mod credentials;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_cache::{Figures, Limit};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::credentials::CredentialMetrics;
use crate::layers::method::Method;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    service: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    service: &'static str,
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// The registry and what it holds.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    limits_met: Family<LimitLabels, Counter<u64, AtomicU64>>,
    /// Calls under way.
    pub(crate) calls_in_flight: Gauge,
    /// Bytes of request bodies.
    pub(crate) received: Counter,
    /// Bytes of answers.
    pub(crate) sent: Counter,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Connections that were ever accepted.
    pub(crate) connections_accepted: Counter,
    /// Connections closed because their address has as many as it may have.
    pub(crate) connections_refused: Counter,
    /// Connections that ended in their TLS handshake.
    pub(crate) handshakes_failed: Counter,
    /// Calls refused because their identity is over its quota.
    pub(crate) calls_over_quota: Counter,
    /// Writes that were taken and thrown away.
    pub(crate) writes_dropped: Counter,
    cache: CacheMetrics,
}

/// What the cache counts itself, put in when it is asked for.
#[derive(Debug, Default)]
struct CacheMetrics {
    limit: Gauge<u64, AtomicU64>,
    used: Gauge<u64, AtomicU64>,
    live: Gauge<u64, AtomicU64>,
    volume_free: Gauge<u64, AtomicU64>,
    blobs: Gauge<u64, AtomicU64>,
    names: Gauge<u64, AtomicU64>,
    pending_names: Gauge<u64, AtomicU64>,
    pending_pushes: Counter<u64, AtomicU64>,
    incomplete_lookups: Counter<u64, AtomicU64>,
    failed_lookups: Counter<u64, AtomicU64>,
    lookups_timed_out: Counter<u64, AtomicU64>,
    lookups_shed: Counter<u64, AtomicU64>,
    names_kept: Counter<u64, AtomicU64>,
    names_refused: Counter<u64, AtomicU64>,
    audit_failures: Counter<u64, AtomicU64>,
    bad_records: Counter<u64, AtomicU64>,
    poisoned: Gauge<u64, AtomicU64>,
    names_let_go: Counter<u64, AtomicU64>,
    blobs_let_go: Counter<u64, AtomicU64>,
    bytes_let_go: Counter<u64, AtomicU64>,
    let_go_lookups: Counter<u64, AtomicU64>,
    unknown_lookups: Counter<u64, AtomicU64>,
    pending_lookups: Counter<u64, AtomicU64>,
    given_back: Counter<u64, AtomicU64>,
    compacted: Counter<u64, AtomicU64>,
    waterline: Gauge<u64, AtomicU64>,
    lease: Gauge<u64, AtomicU64>,
    lease_set: Gauge<u64, AtomicU64>,
    full: Gauge<u64, AtomicU64>,
    disk_silent: Gauge<f64, AtomicU64>,
    slow_disk_calls: Counter<u64, AtomicU64>,
    scrubbed: Counter<u64, AtomicU64>,
    scrubbed_bad: Counter<u64, AtomicU64>,
    scrubbed_all: Gauge<u64, AtomicU64>,
}

/// From a tenth of a millisecond to about 100 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 11))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new("", &CredentialMetrics::default())
    }
}

impl Metrics {
    /// Of a server that keeps everything in `data`.
    pub(crate) fn new(data: &str, credentials: &CredentialMetrics) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("millpond"),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(seconds),
            limits_met: Family::default(),
            calls_in_flight: Gauge::default(),
            received: Counter::default(),
            sent: Counter::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            calls_over_quota: Counter::default(),
            writes_dropped: Counter::default(),
            cache: CacheMetrics::default(),
        };
        let registry = &mut metrics.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which Millpond this is", build);
        let volume = Info::new([("data", data.to_owned())]);
        registry.register("volume", "The data directory", volume);
        metrics.register();
        credentials.register(&mut metrics.registry);
        metrics.cache.register(&mut metrics.registry);
        metrics
    }

    /// A counter's name gets its `_total` and its unit from the library.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("calls", "Calls that ended, by gRPC code or HTTP status class", self.calls.clone());
        let help = "How long calls took, to the last byte of the answer";
        registry.register_with_unit("call", help, Unit::Seconds, self.call_seconds.clone());
        registry.register("calls_in_flight", "Calls under way", self.calls_in_flight.clone());
        registry.register_with_unit("received", "Bytes of requests", Unit::Bytes, self.received.clone());
        registry.register_with_unit("sent", "Bytes of answers", Unit::Bytes, self.sent.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        let help = "Connections accepted";
        registry.register("connections_accepted", help, self.connections_accepted.clone());
        let help = "Connections closed because their address has as many as it may have";
        registry.register("connections_refused", help, self.connections_refused.clone());
        let help = "Connections that ended in their TLS handshake; the log has the reasons";
        registry.register("tls_handshakes_failed", help, self.handshakes_failed.clone());
        let help = "Calls refused because their identity is over its quota";
        registry.register("calls_over_quota", help, self.calls_over_quota.clone());
        let help = "Times that a limit was met, by the name that it has in the configuration";
        registry.register("limits_met", help, self.limits_met.clone());
        let help = "Writes of clients that may only pull, answered as if they were kept and thrown away";
        registry.register("writes_dropped", help, self.writes_dropped.clone());
    }

    /// Counts a call that ended.
    pub(crate) fn count_call(&self, method: Method, code: &'static str, seconds: f64) {
        let Method { service, name } = method;
        self.calls.get_or_create(&CallLabels { service, method: name, code }).inc();
        self.call_seconds.get_or_create(&MethodLabels { service, method: name }).observe(seconds);
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn render(&self, figures: &Figures) -> Result<String, std::fmt::Error> {
        self.cache.set(figures);
        for (limit, name) in Limit::ALL {
            let counter = self.limits_met.get_or_create(&LimitLabels { limit: name });
            counter.inner().store(limit.times_met(), Ordering::Relaxed);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl CacheMetrics {
    fn register(&self, registry: &mut Registry) {
        let mut bytes = |name: &str, help: &str, gauge: &Gauge<u64, AtomicU64>| {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        };
        bytes("limit", "The most bytes that the data directory may take", &self.limit);
        bytes("used", "Bytes that the data directory takes", &self.used);
        bytes("live", "Bytes of blobs that are there", &self.live);
        bytes("volume_free", "Free bytes of the volume", &self.volume_free);
        let mut count = |name: &str, help: &str, gauge: &Gauge<u64, AtomicU64>| {
            registry.register(name, help, gauge.clone());
        };
        count("blobs", "Blobs that are there", &self.blobs);
        count("names", "Names in force", &self.names);
        count("pending_names", "Names that wait for their blobs", &self.pending_names);
        count("poisoned", "1 while nothing is taken in because the disk failed", &self.poisoned);
        let mut total = |name: &str, help: &str, counter: &Counter<u64, AtomicU64>| {
            registry.register(name, help, counter.clone());
        };
        total("pending_pushes", "Pushes of names that had to wait for their blobs", &self.pending_pushes);
        total("incomplete_lookups", "Names found to be not whole when looked up", &self.incomplete_lookups);
        total("failed_lookups", "Look-ups that failed and were answered as misses", &self.failed_lookups);
        let help = "Look-ups and reads that took too long and were answered as misses";
        total("lookups_timed_out", help, &self.lookups_timed_out);
        let help = "Look-ups that were answered as misses at once because too many waited";
        total("lookups_shed", help, &self.lookups_shed);
        let help = "Pushes that left a name with the value that it had";
        total("names_kept", help, &self.names_kept);
        let help = "Pushes refused because the name has a value that may not be replaced";
        total("names_refused", help, &self.names_refused);
        let help = "Times that the audit log could not be written or made durable";
        total("audit_failures", help, &self.audit_failures);
        total("bad_records", "Bad records found", &self.bad_records);
        total("slow_disk_calls", "Calls to the disk that took longer than a second", &self.slow_disk_calls);
        let help =
            "For how long the disk has not answered the call that waits for it longest; 0 if none does";
        registry.register_with_unit("disk_silent", help, Unit::Seconds, self.disk_silent.clone());
        self.register_letting_go(registry);
    }

    fn register_letting_go(&self, registry: &mut Registry) {
        let mut total = |name: &str, help: &str, counter: &Counter<u64, AtomicU64>| {
            registry.register(name, help, counter.clone());
        };
        total("names_let_go", "Names let go to make room", &self.names_let_go);
        total("blobs_let_go", "Blobs let go to make room", &self.blobs_let_go);
        let help = "Look-ups of names that had been let go: what more disk would have spared";
        total("let_go_lookups", help, &self.let_go_lookups);
        let help = "Look-ups of names that were never there, or were let go too long ago to be remembered";
        total("unknown_lookups", help, &self.unknown_lookups);
        total("pending_lookups", "Look-ups of names that wait for their blobs", &self.pending_lookups);
        let mut bytes = |name: &str, help: &str, counter: &Counter<u64, AtomicU64>| {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        };
        bytes("let_go", "Bytes of blobs let go to make room", &self.bytes_let_go);
        bytes("given_back", "Bytes of packs given back to the volume", &self.given_back);
        bytes("compacted", "Bytes of blobs moved to another pack to give space back", &self.compacted);
        bytes("scrubbed", "Bytes of blobs that were read again beside serving", &self.scrubbed);
        let mut seconds = |name: &str, help: &str, gauge: &Gauge<u64, AtomicU64>| {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        };
        let help = "What was last used before this Unix time has been let go; 0 if nothing was yet";
        seconds("waterline_timestamp", help, &self.waterline);
        let help =
            "For how long what is looked up stays; less than what was set while the volume is too small";
        seconds("lease", help, &self.lease);
        seconds("lease_set", "For how long what is looked up should stay", &self.lease_set);
        let help =
            "When all blobs were last read through beside serving, in Unix time; 0 if not since the start";
        seconds("scrubbed_all_timestamp", help, &self.scrubbed_all);
        let help = "1 if an upload was refused for want of room within the last minute";
        registry.register("full", help, self.full.clone());
        let help = "Bad records that were found by reading all blobs again";
        registry.register("scrubbed_bad_records", help, self.scrubbed_bad.clone());
    }

    fn set(&self, figures: &Figures) {
        self.limit.set(figures.limit_bytes);
        self.used.set(figures.used_bytes);
        self.live.set(figures.live_bytes);
        self.volume_free.set(figures.volume_free_bytes);
        self.blobs.set(figures.blobs);
        self.names.set(figures.names);
        self.pending_names.set(figures.pending_names);
        set_counter(&self.pending_pushes, figures.pending_pushes);
        set_counter(&self.incomplete_lookups, figures.incomplete_lookups);
        set_counter(&self.failed_lookups, figures.failed_lookups);
        set_counter(&self.lookups_timed_out, figures.lookups_timed_out);
        set_counter(&self.lookups_shed, figures.lookups_shed);
        set_counter(&self.names_kept, figures.names_kept);
        set_counter(&self.names_refused, figures.names_refused);
        set_counter(&self.audit_failures, figures.audit_failures);
        set_counter(&self.bad_records, figures.bad_records);
        self.poisoned.set(u64::from(figures.poisoned.is_some()));
        set_counter(&self.names_let_go, figures.names_let_go);
        set_counter(&self.blobs_let_go, figures.blobs_let_go);
        set_counter(&self.bytes_let_go, figures.bytes_let_go);
        set_counter(&self.let_go_lookups, figures.let_go_lookups);
        set_counter(&self.unknown_lookups, figures.unknown_lookups);
        set_counter(&self.pending_lookups, figures.pending_lookups);
        set_counter(&self.given_back, figures.bytes_given_back);
        set_counter(&self.compacted, figures.bytes_moved);
        self.waterline.set(figures.waterline);
        self.lease.set(figures.lease_seconds);
        self.lease_set.set(figures.lease_set_seconds);
        self.full.set(u64::from(figures.is_full));
        self.disk_silent.set(Duration::from_millis(figures.disk_silent_ms).as_secs_f64());
        set_counter(&self.slow_disk_calls, figures.slow_disk_calls);
        set_counter(&self.scrubbed, figures.scrubbed_bytes);
        set_counter(&self.scrubbed_bad, figures.scrubbed_bad);
        self.scrubbed_all.set(figures.scrubbed_all);
    }
}

/// Counters are counted in the cache, which never goes back.
fn set_counter(counter: &Counter<u64, AtomicU64>, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_registered_is_rendered() {
        let credentials = CredentialMetrics::default();
        let metrics = Metrics::new("/srv/pond", &credentials);
        credentials.certificate.set(1_800_000_000);
        credentials.expiring.set(2);
        credentials.know_issuer("github");
        credentials.set_keys("gitlab", 3);
        credentials.count_failed_fetch("gitlab");
        metrics.count_call(Method::of("/google.bytestream.ByteStream/Read"), "OK", 0.01);
        metrics.received.inc_by(7);
        let figures = Figures {
            used_bytes: 42,
            bad_records: 3,
            lookups_timed_out: 4,
            lookups_shed: 5,
            pending_lookups: 7,
            disk_silent_ms: 1500,
            slow_disk_calls: 8,
            bytes_let_go: 6,
            scrubbed_bytes: 8,
            scrubbed_bad: 9,
            scrubbed_all: 1_700_000_001,
            waterline: 1_700_000_000,
            lease_seconds: 60,
            audit_failures: 6,
            poisoned: Some("EIO".into()),
            ..Figures::default()
        };
        metrics.render(&figures).unwrap();
        let text = metrics.render(&figures).unwrap();
        for line in [
            r#"millpond_calls_total{service="ByteStream",method="Read",code="OK"} 1"#,
            "millpond_received_bytes_total 7",
            "millpond_certificate_expiry_timestamp_seconds 1800000000",
            "millpond_credentials_expiring 2",
            r#"millpond_issuer_keys{issuer="gitlab"} 3"#,
            r#"millpond_issuer_key_fetches_failed_total{issuer="gitlab"} 1"#,
            r#"millpond_issuer_key_fetches_failed_total{issuer="github"} 0"#,
            "millpond_audit_failures_total 6",
            "millpond_used_bytes 42",
            "millpond_poisoned 1",
            "# TYPE millpond_bad_records counter",
            "millpond_bad_records_total 3",
            "# TYPE millpond_pending_pushes counter",
            "# TYPE millpond_incomplete_lookups counter",
            "# TYPE millpond_failed_lookups counter",
            "millpond_lookups_timed_out_total 4",
            "millpond_lookups_shed_total 5",
            "millpond_pending_lookups_total 7",
            "millpond_disk_silent_seconds 1.5",
            "millpond_slow_disk_calls_total 8",
            "millpond_let_go_bytes_total 6",
            "millpond_waterline_timestamp_seconds 1700000000",
            "millpond_lease_seconds 60",
            "millpond_full 0",
            "millpond_scrubbed_bytes_total 8",
            "millpond_scrubbed_bad_records_total 9",
            "millpond_scrubbed_all_timestamp_seconds 1700000001",
            concat!("millpond_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            r#"millpond_volume_info{data="/srv/pond"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
