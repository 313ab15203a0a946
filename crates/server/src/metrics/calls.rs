//! What is counted of calls: by method, by what they ended with, and by what credential they showed.
//!
//! **Invariant:** a call looks its method's figures up once, without a lock, and raises figures that lie there already:
//! nothing is shared by all calls but these, and no label is made while a call runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_cache::{Durations, Slots};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::histogram;
use crate::identity::Credential;
use crate::layers::method::Method;

/// More than there are methods.
const METHODS_MAX: usize = 64;
/// What a call can end with: gRPC's codes, and what HTTP's say.
const CODES: [&str; 21] = [
    "OK",
    "NOT_FOUND",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
];

/// The figures of all methods.
#[derive(Debug)]
pub(crate) struct CallCounts {
    methods: Slots<Method, Arc<MethodCounts>>,
}

/// The figures of one method.
#[derive(Debug, Default)]
pub(crate) struct MethodCounts {
    ended: [[AtomicU64; CODES.len()]; Credential::ALL.len()],
    took: Durations,
    received: AtomicU64,
    sent: AtomicU64,
}

impl MethodCounts {
    /// A call ended with this code after so long.
    pub(crate) fn count(&self, credential: Credential, code: &str, took: Duration) {
        let code = CODES.iter().position(|known| *known == code);
        let of_credential = self.ended.get(credential as usize);
        if let Some(count) = of_credential.zip(code).and_then(|(ended, code)| ended.get(code)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.took.note(took);
    }

    /// Bytes of a request came in.
    pub(crate) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of an answer go out.
    pub(crate) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Default for CallCounts {
    fn default() -> Self {
        Self { methods: Slots::new(METHODS_MAX) }
    }
}

impl CallCounts {
    /// The figures of a method.
    pub(crate) fn of(&self, method: Method) -> Arc<MethodCounts> {
        self.methods.get_or_insert(&method, || (method, Arc::default())).cloned().unwrap_or_default()
    }

    fn sorted(&self) -> Vec<([(&'static str, &'static str); 2], &MethodCounts)> {
        let labels = |method: &Method| [("service", method.service), ("method", method.name)];
        let mut all: Vec<_> =
            self.methods.iter().map(|(method, counts)| (labels(method), &**counts)).collect();
        all.sort_unstable_by_key(|(labels, _)| *labels);
        all
    }
}

impl Collector for CallCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let methods = self.sorted();
        let help =
            "Calls that ended, by gRPC code or HTTP status class, and by the credential that they showed.";
        let mut calls = encoder.encode_descriptor("calls", help, None, MetricType::Counter)?;
        for ([service, method], counts) in &methods {
            for (credential, ended) in Credential::ALL.into_iter().zip(&counts.ended) {
                for (code, count) in CODES.into_iter().zip(ended) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [*service, *method, ("code", code), ("identity", credential.word())];
                        ConstCounter::new(count).encode(calls.encode_family(&labels)?)?;
                    }
                }
            }
        }
        let help = "How long calls took, to the last byte of the answer, in seconds.";
        let mut took =
            encoder.encode_descriptor("call", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, counts) in &methods {
            histogram::encode(&counts.took.read(), took.encode_family(labels)?)?;
        }
        let received = |counts: &MethodCounts| counts.received.load(Ordering::Relaxed);
        let sent = |counts: &MethodCounts| counts.sent.load(Ordering::Relaxed);
        type Read<'r> = &'r dyn Fn(&MethodCounts) -> u64;
        let kinds: [(_, _, Read<'_>); 2] =
            [("received", "Bytes of requests.", &received), ("sent", "Bytes of answers.", &sent)];
        for (name, help, read) in kinds {
            let mut bytes = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Counter)?;
            for (labels, counts) in &methods {
                ConstCounter::new(read(counts)).encode(bytes.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn there_are_figures_for_every_code_of_grpc() {
        for code in (0..17).map(Code::from) {
            let word = format!("{code:?}");
            let snake: String = word.char_indices().fold(String::new(), |snake, (at, letter)| {
                let apart = at > 0 && letter.is_uppercase();
                snake + if apart { "_" } else { "" } + &letter.to_ascii_uppercase().to_string()
            });
            assert!(CODES.contains(&snake.as_str()), "{snake}");
        }
    }

    #[test]
    fn calls_of_one_method_share_its_figures() {
        let counts = CallCounts::default();
        let read = Method::of("/google.bytestream.ByteStream/Read");
        counts.of(read).count(Credential::Token, "OK", Duration::from_millis(3));
        counts.of(read).count(Credential::Token, "OK", Duration::from_millis(3));
        counts.of(Method::of("/made/up")).count(Credential::None, "NOT_FOUND", Duration::ZERO);
        let of = counts.of(read);
        assert_eq!(of.ended[Credential::Token as usize][0].load(Ordering::Relaxed), 2);
        assert_eq!((of.took.read().count(), counts.methods.iter().count()), (2, 2));
    }
}
