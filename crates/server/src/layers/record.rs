//! One call's figures, counted once when it ends, however it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::activity::Busy;
use crate::caller::{Caller, RequestId};
use crate::identity::Credential;
use crate::layers::method::Method;
use crate::metrics::{MethodCounts, Metrics};
use crate::otlp::{Begun, Ended};
use crate::quota::Account;

/// What is known of a call.
#[derive(Debug)]
pub(crate) struct Record {
    request: RequestId,
    identity: String,
    credential: Credential,
    method: Method,
    peer: Option<SocketAddr>,
    start: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    /// Whose uploads are counted.
    account: Option<Arc<Account>>,
    metrics: Arc<Metrics>,
    counts: Arc<MethodCounts>,
    span: Option<Arc<Begun>>,
}

impl Record {
    /// A call of this caller, which begins now.
    pub(crate) fn new(
        caller: &Caller,
        method: Method,
        peer: Option<SocketAddr>,
        account: Option<Arc<Account>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let counts = metrics.of_method(method);
        Self {
            request: caller.request,
            identity: caller.name().to_owned(),
            credential: caller.credential,
            method,
            peer,
            start: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            account,
            metrics,
            counts,
            span: caller.span.clone(),
        }
    }

    /// Its id.
    pub(crate) fn request(&self) -> RequestId {
        self.request
    }

    /// Who makes it, or whose credential it showed that does not hold any more; empty for somebody unknown.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// What is called.
    pub(crate) fn method(&self) -> Method {
        self.method
    }

    /// Where from.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Bytes of the request came in.
    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.counts.add_received(bytes as u64);
        if let Some(account) = &self.account {
            account.take_bytes(bytes);
        }
    }

    /// Bytes of the answer go out.
    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.counts.add_sent(bytes as u64);
    }
}

/// A call that has not ended. Dropped without [`UnderWay::ended`], the client went away.
#[derive(Debug)]
pub(crate) struct UnderWay {
    record: Arc<Record>,
    code: &'static str,
    _busy: Option<Busy>,
}

impl UnderWay {
    /// The call of `record`, with which its connection is `busy`.
    pub(crate) fn new(record: Arc<Record>, busy: Option<Busy>) -> Self {
        record.metrics.calls_in_flight.inc();
        Self { record, code: "CANCELLED", _busy: busy }
    }

    /// Its figures so far.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// It ended with this code.
    pub(crate) fn ended(mut self, code: &'static str) {
        self.code = code;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Record { request, credential, method, peer, start, received, sent, metrics, counts, .. } =
            self.record.as_ref();
        let elapsed = start.elapsed();
        if let Some(span) = &self.record.span {
            span.end(&Ended {
                request: *request,
                method: *method,
                credential: *credential,
                code: self.code,
                received: received.load(Ordering::Relaxed),
                sent: sent.load(Ordering::Relaxed),
                took: elapsed,
            });
        }
        metrics.calls_in_flight.dec();
        counts.count(*credential, self.code, elapsed);
        tracing::debug!(
            %request,
            service = method.service,
            method = method.name,
            code = self.code,
            peer = peer.map(tracing::field::display),
            received = received.load(Ordering::Relaxed),
            sent = sent.load(Ordering::Relaxed),
            microseconds = elapsed.as_micros(),
            "call"
        );
    }
}
