//! What surrounds every call, in one layer: its id and caller, counting, the line in the log, limits on what comes in,
//! and catching panics.
//!
//! **Invariant:** a panic in a call ends that call alone, with INTERNAL; the other calls of its connection, which may be
//! all that a client has under way, do not notice.

mod framing;
pub(crate) mod method;
mod received;
mod record;
mod sent;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use millpond_cache::Access;
use tower::{BoxError, Service};

use self::method::Method;
use self::received::Received;
use self::record::{Record, UnderWay};
use self::sent::Sent;
use crate::caller::Caller;
use crate::metrics::Metrics;
use crate::quirks::Generation;
use crate::status;

/// The service of one listener, and of one connection of it.
#[derive(Clone)]
pub(crate) struct Calls {
    router: Router,
    access: Access,
    metrics: Arc<Metrics>,
    connection: Option<Arc<Connection>>,
}

/// One connection: counted as long as it is there.
struct Connection {
    peer: SocketAddr,
    asked: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Calls {
    /// For a listener.
    pub(crate) fn new(router: Router, access: Access, metrics: Arc<Metrics>) -> Self {
        Self { router, access, metrics, connection: None }
    }

    /// The same for one connection of it.
    pub(crate) fn on_connection(&self, peer: SocketAddr) -> Self {
        self.metrics.connections.inc();
        self.metrics.connections_accepted.inc();
        let metrics = Arc::clone(&self.metrics);
        let connection = Connection { peer, asked: AtomicBool::new(false), metrics };
        Self { connection: Some(Arc::new(connection)), ..self.clone() }
    }

    /// Whether any call came on this connection.
    pub(crate) fn has_been_asked(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.asked.load(Ordering::Relaxed))
    }
}

impl<B> Service<Request<B>> for Calls
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Sent>;
    type Error = Infallible;
    type Future = Call;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request<B>) -> Call {
        let peer = self.connection.as_ref().map(|connection| {
            connection.asked.store(true, Ordering::Relaxed);
            connection.peer
        });
        let caller = Caller::new(self.access, peer, Generation::of(request.headers()));
        let method = Method::of(request.uri().path());
        let record = Arc::new(Record::new(caller.request, method, peer, Arc::clone(&self.metrics)));
        request.extensions_mut().insert(caller);
        let grpc = is_grpc(request.headers());
        let request = request.map(|body| Received::new(body, grpc, Arc::clone(&record)));
        let under_way = Some(UnderWay::new(record));
        // What panics here is the routing, before anything of the call exists.
        Call { answer: Box::pin(self.router.call(request)), under_way }
    }
}

/// A call until its answer begins.
pub(crate) struct Call {
    answer: Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
    under_way: Option<UnderWay>,
}

impl Future for Call {
    type Output = Result<Response<Sent>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.answer.as_mut().poll(context)));
        let response = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(_) => match &self.under_way {
                Some(under_way) => status::panicked(under_way.record().request()),
                None => Response::new(Body::empty()),
            },
        };
        let under_way = self.under_way.take();
        let (parts, body) = response.into_parts();
        let body = Sent::new(body, under_way, &parts);
        Poll::Ready(Ok(Response::from_parts(parts, body)))
    }
}

/// Whether a request is framed as gRPC frames it.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests;
