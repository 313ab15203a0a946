//! A span for each call: begun by its headers, ended with its figures, and handed to the exporter if there is room.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::HeaderMap;
use millpond_cache::Clock;
use millpond_proto::otlp::common::KeyValue;
use millpond_proto::otlp::trace::span::SpanKind;
use millpond_proto::otlp::trace::status::StatusCode;
use millpond_proto::otlp::trace::{Span, Status};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc::Sender;

use super::{number, text};
use crate::caller::RequestId;
use crate::identity::Credential;
use crate::layers::method::Method;
use crate::request_metadata;

/// Where spans go.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    pub(super) queue: Sender<Span>,
    pub(super) sample: f64,
    pub(super) dropped: Counter,
}

/// The call that a call is a part of, as `traceparent` of W3C has it.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace: Bytes,
    span: Bytes,
    sampled: bool,
}

/// A span that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    spans: Spans,
    trace: Bytes,
    id: Bytes,
    parent: Bytes,
    start: u64,
    /// Of REAPI's metadata.
    said: Vec<KeyValue>,
    instance: OnceLock<String>,
}

/// How a call went.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) request: RequestId,
    pub(crate) method: Method,
    pub(crate) credential: Credential,
    pub(crate) code: &'static str,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) took: Duration,
}

impl Spans {
    /// The span of a call with these headers, if it is to have one: a client that is known and has a span decides, and else chance.
    pub(crate) fn begin(&self, headers: &HeaderMap, is_known: bool) -> Option<Begun> {
        let parent = headers.get("traceparent").and_then(|value| parent(value.to_str().ok()?));
        let (trace, parent) = match parent {
            Some(Parent { sampled, .. }) if is_known && !sampled => return None,
            Some(Parent { trace, span, .. }) if is_known || self.is_chosen(random()) => (trace, span),
            None if self.is_chosen(random()) => {
                let halves = [random().to_be_bytes(), random().to_be_bytes()];
                (Bytes::from(halves.concat()), Bytes::new())
            }
            _ => return None,
        };
        Some(Begun {
            spans: self.clone(),
            trace,
            id: Bytes::copy_from_slice(&random().max(1).to_be_bytes()),
            parent,
            start: Clock::unix_nanoseconds(),
            said: said(headers).unwrap_or_default(),
            instance: OnceLock::new(),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    fn is_chosen(&self, number: u64) -> bool {
        self.sample >= 1.0 || (number as f64) < self.sample * (u64::MAX as f64)
    }
}

impl Begun {
    /// The call is for this instance, which there is.
    pub(crate) fn set_instance(&self, instance: &str) {
        // Of a call for several the first one is told.
        let _ = self.instance.set(instance.to_owned());
    }

    /// The call is over.
    pub(crate) fn end(&self, ended: &Ended) {
        let Ended { request, method, credential, code, received, sent, took } = ended;
        let mut attributes = vec![
            text("rpc.system", "grpc"),
            text("rpc.service", method.service),
            text("rpc.method", method.name),
            text("rpc.response.status_code", code),
            text("millpond.identity", credential.word()),
            text("millpond.request_id", &request.to_string()),
            number("millpond.received_bytes", *received),
            number("millpond.sent_bytes", *sent),
        ];
        attributes.extend(self.instance.get().map(|instance| text("millpond.instance", instance)));
        attributes.extend(self.said.iter().cloned());
        let failed = matches!(
            *code,
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        );
        let status = if failed { StatusCode::Error } else { StatusCode::Unset };
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let span = Span {
            trace_id: self.trace.clone(),
            span_id: self.id.clone(),
            parent_span_id: self.parent.clone(),
            name: format!("{}/{}", method.service, method.name),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: self.start,
            end_time_unix_nano: self.start.saturating_add(nanoseconds),
            attributes,
            status: Some(Status { message: String::new(), code: status.into() }),
        };
        if self.spans.queue.try_send(span).is_err() {
            self.spans.dropped.inc();
        }
    }
}

/// The standard library's hash maps are seeded from the system's randomness.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// What `traceparent` says, if it is one.
fn parent(text: &str) -> Option<Parent> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let decode = |text: &str, length| {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        (bytes.len() == length).then_some(bytes)
    };
    let version = decode(version, 1)?;
    if version == [0xff] || (version == [0] && parts.next().is_some()) {
        return None;
    }
    let not_zero = |bytes: Vec<u8>| bytes.iter().any(|byte| *byte != 0).then(|| Bytes::from(bytes));
    let (trace, span) = (not_zero(decode(trace, 16)?)?, not_zero(decode(span, 8)?)?);
    let sampled = decode(flags, 1)?.first()? & 1 == 1;
    Some(Parent { trace, span, sampled })
}

/// What REAPI's clients say of the build that they ask for.
fn said(headers: &HeaderMap) -> Option<Vec<KeyValue>> {
    let metadata = request_metadata::of(headers)?;
    let tool = metadata.tool_details.unwrap_or_default();
    let ids = [
        ("millpond.tool", format!("{} {}", tool.tool_name, tool.tool_version).trim().to_owned()),
        ("millpond.tool_invocation_id", metadata.tool_invocation_id),
        ("millpond.correlated_invocations_id", metadata.correlated_invocations_id),
        ("millpond.action_id", metadata.action_id),
    ];
    Some(ids.iter().filter(|(_, id)| !id.is_empty()).map(|(key, id)| text(key, id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64_NOPAD;
    use millpond_proto::reapi::RequestMetadata;
    use prost::Message as _;
    use tokio::sync::mpsc;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn spans(sample: f64, room: usize) -> (Spans, mpsc::Receiver<Span>) {
        let (queue, spans) = mpsc::channel(room);
        (Spans { queue, sample, dropped: Counter::default() }, spans)
    }

    fn headers(parent: &str) -> HeaderMap {
        [("traceparent".parse().unwrap(), parent.parse().unwrap())].into_iter().collect()
    }

    fn ended() -> Ended {
        let (request, method) = (RequestId::next(), Method::of("/made/up"));
        let (credential, took) = (Credential::None, Duration::from_millis(2));
        Ended { request, method, credential, code: "INTERNAL", received: 1, sent: 2, took }
    }

    #[test]
    fn parents_are_taken_as_w3c_writes_them() {
        let found = parent(GIVEN).unwrap();
        assert_eq!(HEXLOWER.encode(&found.span), "b7ad6b7169203331");
        assert!(found.sampled && parent(&format!("01{}-more", &GIVEN[2..])).is_some());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert!(parent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn known_client_with_a_span_decides_and_else_the_share() {
        let (none, _queue) = spans(0.0, 1);
        assert!(none.begin(&HeaderMap::new(), true).is_none());
        assert!(none.begin(&headers(GIVEN), true).is_some());
        // Nobody knows who that is.
        assert!(none.begin(&headers(GIVEN), false).is_none());
        let (all, _queue) = spans(1.0, 1);
        assert!(all.begin(&HeaderMap::new(), true).is_some());
        let unwanted = headers(&GIVEN.replace("-01", "-00"));
        assert!(all.begin(&unwanted, true).is_none() && all.begin(&unwanted, false).is_some());
        let (half, _queue) = spans(0.5, 1);
        assert!(half.is_chosen(1 << 62) && !half.is_chosen(3 << 62));
    }

    #[test]
    fn what_does_not_fit_the_queue_is_counted() {
        let (spans, mut queue) = spans(1.0, 1);
        for _ in 0..3 {
            spans.begin(&headers(GIVEN), true).unwrap().end(&ended());
        }
        assert_eq!(spans.dropped.get(), 2);
        let span = queue.try_recv().unwrap();
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 2_000_000);
        assert_eq!(span.status.unwrap().code, i32::from(StatusCode::Error));
    }

    #[test]
    fn metadata_is_taken_and_cut() {
        let metadata = RequestMetadata { action_id: "é".repeat(300), ..Default::default() };
        let header = BASE64_NOPAD.encode(&metadata.encode_to_vec());
        let with = |text: &str| -> HeaderMap {
            [(request_metadata::HEADER.parse().unwrap(), text.parse().unwrap())].into_iter().collect()
        };
        assert_eq!(said(&with(&header)).unwrap(), [text("millpond.action_id", &"é".repeat(128))]);
        assert!(said(&with("!")).is_none() && said(&with(&"A".repeat(5000))).is_none());
    }
}
