//! What is counted of credentials: when they expire, and whether the keys of issuers can be had.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The name that the operator gave an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

/// What those need to know who have to renew credentials, or to look after issuers.
#[derive(Debug, Default)]
pub(crate) struct CredentialMetrics {
    /// The last second of the server's certificate, in Unix seconds; 0 if it presents none.
    pub(crate) certificate: Gauge<u64, AtomicU64>,
    /// From when on another should have taken its place, in Unix seconds; 0 if it presents none.
    pub(crate) certificate_due: Gauge<u64, AtomicU64>,
    /// Credentials of clients, and certificates of authorities, that expire soon.
    pub(crate) expiring: Gauge<u64, AtomicU64>,
    keys: Family<IssuerLabels, Gauge>,
    fetches_failed: Family<IssuerLabels, Counter>,
}

impl CredentialMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "When the certificate of this server expires, in Unix time; 0 without TLS";
        let (name, unit) = ("certificate_expiry_timestamp", Unit::Seconds);
        registry.register_with_unit(name, help, unit, self.certificate.clone());
        let help = "From when on another certificate should have taken this one's place, in Unix time: 14 days before it expires, \
                    or a sixth of its time where that is less; at once where an ACME authority has issued none; 0 without TLS";
        let (name, unit) = ("certificate_due_timestamp", Unit::Seconds);
        registry.register_with_unit(name, help, unit, self.certificate_due.clone());
        let help = "Certificates and tokens of clients, and certificates of authorities, that expire within 30 days; the log \
                    names them";
        registry.register("credentials_expiring", help, self.expiring.clone());
        registry.register("issuer_keys", "Keys of an issuer that are known", self.keys.clone());
        let help = "Fetches of an issuer's keys that failed; the log has the reasons";
        registry.register("issuer_key_fetches_failed", help, self.fetches_failed.clone());
    }

    /// From the beginning, so that an issuer of whom nothing is known is seen.
    pub(crate) fn know_issuer(&self, issuer: &str) {
        drop(self.keys.get_or_create(&labels(issuer)));
        drop(self.fetches_failed.get_or_create(&labels(issuer)));
    }

    /// An issuer has so many keys.
    pub(crate) fn set_keys(&self, issuer: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.keys.get_or_create(&labels(issuer)).set(count);
    }

    /// Counts that an issuer's keys could not be fetched.
    pub(crate) fn count_failed_fetch(&self, issuer: &str) {
        self.fetches_failed.get_or_create(&labels(issuer)).inc();
    }
}

fn labels(issuer: &str) -> IssuerLabels {
    IssuerLabels { issuer: issuer.to_owned() }
}
