//! What is counted: name, unit and help of every metric.
//!
//! **Invariant:** no label has a value that a client chose.

mod calls;
mod credentials;
mod histogram;
mod process;
mod taken;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_cache::{Clock, Figures, Limit};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::calls::CallCounts;
pub(crate) use self::calls::MethodCounts;
pub(crate) use self::credentials::CredentialMetrics;
use self::process::Process;
use self::taken::Taken;
use crate::layers::method::Method;

/// In which words metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own older format, for whoever does not ask for another.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// The registry and what it holds.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    limits_met: Family<LimitLabels, Counter<u64, AtomicU64>>,
    /// What is not of ours alone, and has no prefix.
    process: Registry,
    calls: Arc<CallCounts>,
    taken: Arc<Taken>,
    /// Calls under way.
    pub(crate) calls_in_flight: Gauge,
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
    /// Spans that a receiver of OTLP took.
    pub(crate) spans_sent: Counter,
    /// Spans that found no room, or no receiver.
    pub(crate) spans_dropped: Counter,
    /// Messages that no receiver took.
    pub(crate) otlp_failures: Counter,
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
    cold: Counter<u64, AtomicU64>,
    cold_compressed: Counter<u64, AtomicU64>,
    scrubbed_all: Gauge<u64, AtomicU64>,
    scrubbed_share: Gauge<f64, AtomicU64>,
    full_share: Gauge<f64, AtomicU64>,
    retention_age: Gauge<f64, AtomicU64>,
    names_lacking: Gauge<u64, AtomicU64>,
    blobs_lacking: Gauge<u64, AtomicU64>,
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
            limits_met: Family::default(),
            process: Registry::default(),
            calls: Arc::default(),
            taken: Arc::default(),
            calls_in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            calls_over_quota: Counter::default(),
            writes_dropped: Counter::default(),
            spans_sent: Counter::default(),
            spans_dropped: Counter::default(),
            otlp_failures: Counter::default(),
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
        metrics.registry.register_collector(Box::new(Arc::clone(&metrics.taken)));
        metrics.process.register_collector(Box::new(Process));
        metrics
    }

    /// A counter's name gets its `_total` and its unit from the library.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(Arc::clone(&self.calls)));
        registry.register("calls_in_flight", "Calls under way", self.calls_in_flight.clone());
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
        let help = "Spans that a receiver of OTLP took";
        registry.register("otlp_spans_sent", help, self.spans_sent.clone());
        let help = "Spans that were dropped since no receiver of OTLP took them in time";
        registry.register("otlp_spans_dropped", help, self.spans_dropped.clone());
        let help =
            "Messages of OTLP, with spans or with figures, that no receiver took; the log has the reasons";
        registry.register("otlp_failures", help, self.otlp_failures.clone());
    }

    /// Where calls of a method are counted.
    pub(crate) fn of_method(&self, method: Method) -> Arc<MethodCounts> {
        self.calls.of(method)
    }

    /// All metrics.
    pub(crate) fn render(&self, figures: &Figures, format: Format) -> Result<String, std::fmt::Error> {
        self.cache.set(figures);
        for (limit, name) in Limit::ALL {
            let counter = self.limits_met.get_or_create(&LimitLabels { limit: name });
            counter.inner().store(limit.times_met(), Ordering::Relaxed);
        }
        self.taken.set(figures);
        let mut page = String::new();
        let registries = [&self.registry, &self.process];
        match format {
            Format::Prometheus => {
                registries.into_iter().try_for_each(|of| prometheus_text::encode(&mut page, of))?;
            }
            Format::OpenMetrics => {
                registries.into_iter().try_for_each(|of| text::encode_registry(&mut page, of))?;
                text::encode_eof(&mut page)?;
            }
        }
        Ok(page)
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
        let help = "For how many seconds the disk has not answered the call that waits for it longest; 0 if none does";
        registry.register_with_unit("disk_silent", help, Unit::Seconds, self.disk_silent.clone());
        self.register_letting_go(registry);
        self.register_wholeness(registry);
    }

    fn register_wholeness(&self, registry: &mut Registry) {
        let help = "Blobs that names in force were found to lack, which makes these names misses, each once for every place that needs \
                    it: found by look-ups, by `millpond fsck`, and by reading all blobs again once that found a bad record. To be 0; up to \
                    1000 names are remembered, and looked at again each minute";
        registry.register("served_blobs_missing", help, self.blobs_lacking.clone());
        let help = "Names in force that were found to lack blobs. To be 0, as served_blobs_missing";
        registry.register("served_names_lacking_blobs", help, self.names_lacking.clone());
        let mut ratio = |name: &str, help: &str, gauge: &Gauge<f64, AtomicU64>| {
            registry.register_with_unit(name, help, Unit::Other("ratio".into()), gauge.clone());
        };
        let help = "Share of the limit that the data directory takes, from 0 to 1; letting go begins at 0.87 of what blobs may have";
        ratio("used", help, &self.full_share);
        let help = "Share of the pass under way that was read again, from 0 to 1";
        ratio("scrubbed", help, &self.scrubbed_share);
        let help = "How far the cache reaches back, in seconds: for how long what is used once stays. +Inf until something was let go";
        registry.register_with_unit("retention_age", help, Unit::Seconds, self.retention_age.clone());
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
        bytes("cold", "Bytes of blobs that were compressed beside serving, as they lay before", &self.cold);
        bytes("cold_compressed", "Bytes that these blobs take since", &self.cold_compressed);
        let mut seconds = |name: &str, help: &str, gauge: &Gauge<u64, AtomicU64>| {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        };
        let help = "What was last used before this Unix time has been let go; 0 if nothing was yet";
        seconds("waterline_timestamp", help, &self.waterline);
        let help = "For how many seconds what is looked up stays; less than what was set while the volume is too small";
        seconds("lease", help, &self.lease);
        seconds("lease_set", "For how many seconds what is looked up should stay", &self.lease_set);
        let help = "When all blobs were last read through beside serving, in Unix time; 0 if never";
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
        set_counter(&self.cold, figures.cold_bytes);
        set_counter(&self.cold_compressed, figures.cold_bytes_compressed);
        self.scrubbed_all.set(figures.scrubbed_all);
        self.scrubbed_share.set(figures.scrubbed_share);
        self.full_share.set(figures.used_bytes as f64 / figures.limit_bytes.max(1) as f64);
        let age = Clock::unix_seconds().saturating_sub(figures.waterline) as f64;
        self.retention_age.set(if figures.waterline == 0 { f64::INFINITY } else { age });
        self.names_lacking.set(figures.names_lacking);
        self.blobs_lacking.set(figures.blobs_lacking);
    }
}

/// Counters are counted in the cache, which never goes back.
fn set_counter(counter: &Counter<u64, AtomicU64>, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use millpond_cache::{DiskDeed, NamesCounted, Took};

    use super::*;
    use crate::identity::Credential;

    #[test]
    fn everything_registered_is_rendered() {
        let credentials = CredentialMetrics::default();
        let metrics = Metrics::new("/srv/pond", &credentials);
        credentials.certificate.set(1_800_000_000);
        credentials.expiring.set(2);
        credentials.know_issuer("github");
        credentials.set_keys("gitlab", 3);
        credentials.count_failed_fetch("gitlab");
        let read = metrics.of_method(Method::of("/google.bytestream.ByteStream/Read"));
        read.count(Credential::Certificate, "OK", Duration::from_millis(10));
        read.add_received(7);
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
            limit_bytes: 84,
            names_lacking: 1,
            blobs_lacking: 2,
            scrubbed_share: 0.25,
            names_counted: vec![NamesCounted {
                kind: "artifact",
                project: "gnome".into(),
                look_ups: vec![("hit", 5)],
                pushes: vec![("kept", 6)],
            }],
            disk_calls: vec![(DiskDeed::Sync, Took { seconds: 1.5, ..Took::default() })],
            ..Figures::default()
        };
        metrics.render(&figures, Format::OpenMetrics).unwrap();
        let text = metrics.render(&figures, Format::OpenMetrics).unwrap();
        for line in [
            r#"millpond_calls_total{service="ByteStream",method="Read",code="OK",identity="certificate"} 1"#,
            r#"millpond_received_bytes_total{service="ByteStream",method="Read"} 7"#,
            r#"millpond_call_seconds_bucket{le="0.01",service="ByteStream",method="Read"} 1"#,
            r#"millpond_lookups_total{kind="artifact",project="gnome",result="hit"} 5"#,
            r#"millpond_pushes_total{kind="artifact",project="gnome",result="kept"} 6"#,
            r#"millpond_disk_call_seconds_sum{deed="sync"} 1.5"#,
            "millpond_used_ratio 0.5",
            "millpond_scrubbed_ratio 0.25",
            "millpond_served_blobs_missing 2",
            "millpond_served_names_lacking_blobs 1",
            "# TYPE process_cpu_seconds counter",
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

    #[test]
    fn nothing_let_go_is_a_cache_that_reaches_back_for_ever() {
        let metrics = Metrics::default();
        let page = metrics.render(&Figures::default(), Format::Prometheus).unwrap();
        assert!(page.contains("millpond_retention_age_seconds inf") || page.contains("+Inf"), "{page}");
        let figures = Figures { waterline: Clock::unix_seconds() - 1000, ..Figures::default() };
        let page = metrics.render(&figures, Format::Prometheus).unwrap();
        let age = page.lines().find_map(|line| line.strip_prefix("millpond_retention_age_seconds "));
        assert!((1000.0..2000.0).contains(&age.unwrap().parse::<f64>().unwrap()), "{page}");
    }
}
