//! What others are told of how this server is, by OTLP over gRPC: a span for each call, and the figures of the registry each
//! interval.
//!
//! **Invariant:** no call waits for a receiver. Spans go into a queue with an end, and what does not fit is dropped and counted.
//! **Invariant:** no secret is in what is sent: of who calls only the kind of credential, of a request only ids.

mod exporter;
mod points;
mod spans;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use millpond_proto::otlp::common::any_value::Value;
use millpond_proto::otlp::common::{AnyValue, InstrumentationScope, KeyValue};
use millpond_proto::otlp::resource::Resource;

pub(crate) use self::exporter::Exporter;
pub(crate) use self::spans::{Begun, Ended, Spans};
use crate::trust;
use crate::upstream::address::Address;

/// The longest text of an attribute, in bytes.
const TEXT_MAX: usize = 256;

/// What is told, and whom.
#[derive(Clone, Debug)]
pub struct Otlp {
    address: Address,
    ca_pem: Bytes,
    /// Sent with each message; they may be secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A span for each call.
    pub traces: bool,
    /// The figures.
    pub metrics: bool,
    /// Which share of the calls that no client decides about have a span, from 0 to 1.
    pub sample: f64,
    /// How often figures are sent.
    pub interval: Duration,
    /// What this server is: `service.name` and others.
    pub resource: BTreeMap<String, String>,
}

impl Otlp {
    /// Everything, to the receiver at this URL, known by these certificates in PEM, or those that the system trusts if there are
    /// none.
    ///
    /// # Errors
    /// What is wrong with the certificates or the URL.
    pub fn new(url: &str, ca_pem: Vec<u8>) -> Result<Self, String> {
        if !ca_pem.is_empty() {
            trust::given(&ca_pem)?;
        }
        Ok(Self {
            address: url.parse()?,
            ca_pem: ca_pem.into(),
            headers: Vec::new(),
            traces: true,
            metrics: true,
            sample: 1.0,
            interval: Duration::from_secs(60),
            resource: BTreeMap::new(),
        })
    }

    /// Whether nobody on the way to such a receiver can read what is sent.
    pub fn keeps_secrets(&self) -> bool {
        self.address.keeps_secrets()
    }

    fn resource(&self) -> Resource {
        let version = ("service.version", env!("CARGO_PKG_VERSION"));
        let given = self.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let attributes = given.chain([version]).map(|(key, value)| text(key, value)).collect();
        Resource { attributes }
    }
}

/// Who measures.
fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "millpond".into(), version: env!("CARGO_PKG_VERSION").into() })
}

/// An attribute that is a text, cut to what one may have.
fn text(key: &str, value: &str) -> KeyValue {
    let mut end = value.len().min(TEXT_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = Value::StringValue(value.get(..end).unwrap_or_default().to_owned());
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

/// An attribute that is a number.
fn number(key: &str, value: u64) -> KeyValue {
    let value = Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX));
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}
