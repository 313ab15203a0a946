//! What surrounds every call, in one layer: its id and caller, counting, the line in the log, limits on what comes in,
//! and catching panics.
//!
//! **Invariant:** a panic in a call ends that call alone, with INTERNAL; the other calls of its connection, which may be
//! all that a client has under way, do not notice.

mod activity;
mod fields;
mod framing;
mod hold;
pub(crate) mod method;
pub(crate) mod pace;
mod received;
mod record;
mod refusals;
mod sent;
mod terms;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::Either;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Request, Response};
use millpond_cache::{Access, Bounds, Cache, Client, now_and_then};
use tonic::Status;
use tower::{BoxError, Service};

use self::activity::Activity;
pub(crate) use self::fields::Fields;
pub(crate) use self::framing::Framing;
use self::hold::Hold;
use self::method::{Method, Nature};
use self::received::Received;
use self::record::{Record, UnderWay};
use self::sent::Sent;
pub(crate) use self::terms::Terms;
use crate::caller::Caller;
use crate::identity::{ConnectionIdentity, Credential, Credentials, Waiting};
use crate::memory::{Memory, Share};
use crate::metrics::Metrics;
use crate::otlp::Spans;
use crate::quirks::Generation;
use crate::quota::{Account, Quotas};
use crate::status;

/// The header of every answer that names its call as the log does.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service of one listener, and of one connection of it.
#[derive(Clone)]
pub(crate) struct Calls {
    router: Router,
    /// For writes of clients that may only pull, where these are not to be refused.
    dropping: Option<Router>,
    bounds: Bounds,
    credentials: Arc<Credentials>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    quotas: Arc<Quotas>,
    /// Where it is written down whose credential does not hold any more.
    cache: Option<Arc<Cache>>,
    /// Where calls' spans go.
    spans: Option<Spans>,
    connection: Option<Arc<Connection>>,
}

/// One connection: counted as long as it is there.
struct Connection {
    /// Where from; `None` for one of this machine's own sockets.
    peer: Option<SocketAddr>,
    identity: ConnectionIdentity,
    activity: Arc<Activity>,
    share: Arc<Share>,
    metrics: Arc<Metrics>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Calls {
    /// For a listener.
    pub(crate) fn new(
        router: Router,
        bounds: Bounds,
        credentials: Arc<Credentials>,
        metrics: Arc<Metrics>,
        memory: Arc<Memory>,
    ) -> Self {
        let quotas = Arc::default();
        let (dropping, cache, spans, connection) = (None, None, None, None);
        Self { router, dropping, bounds, credentials, metrics, memory, quotas, cache, spans, connection }
    }

    /// The same where writes of clients that may only pull go to this router, if there is one.
    pub(crate) fn dropping(self, router: Option<Router>) -> Self {
        Self { dropping: router, ..self }
    }

    /// The same where identities have these quotas.
    pub(crate) fn within(self, quotas: Arc<Quotas>) -> Self {
        Self { quotas, ..self }
    }

    /// The same where the audit log of this cache says whose credentials do not hold any more.
    pub(crate) fn audited_by(self, cache: Arc<Cache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// The same where calls have spans that go there, if anybody wants them.
    pub(crate) fn traced_by(self, spans: Option<Spans>) -> Self {
        Self { spans, ..self }
    }

    /// The same for one connection of it.
    pub(crate) fn on_connection(&self, peer: Option<SocketAddr>, identity: ConnectionIdentity) -> Self {
        self.metrics.connections.inc();
        self.metrics.connections_accepted.inc();
        let metrics = Arc::clone(&self.metrics);
        let share = Share::new(Arc::clone(&self.memory));
        let connection = Connection { peer, identity, activity: Activity::new(), share, metrics };
        Self { connection: Some(Arc::new(connection)), ..self.clone() }
    }

    /// Counts a connection that its address may not have.
    pub(crate) fn count_refused_connection(&self) {
        self.metrics.connections_refused.inc();
    }

    /// Counts a connection that came to nothing.
    pub(crate) fn count_failed_handshake(&self) {
        self.metrics.handshakes_failed.inc();
    }

    fn access(&self, headers: &HeaderMap) -> Result<(Access, Credential), Waiting> {
        match &self.connection {
            Some(connection) => self.credentials.access(self.bounds, headers, &connection.identity),
            None => Ok((Access::anonymous(self.bounds), Credential::None)),
        }
    }

    /// Why a call is not begun.
    fn refusal(&self, method: Method, caller: &Caller, account: Option<&Account>) -> Option<Status> {
        // Whether the server is well may be asked by those who look after it, without a credential.
        if (method.service, method.name) == ("Health", "Check") {
            return None;
        }
        if let Err(error) = caller.access.may_do_something() {
            if let (Some(cache), Some(name)) = (&self.cache, caller.access.refused_name()) {
                let client = Client { identity: name.to_owned(), address: caller.client.address };
                cache.note_denied(&client, "", &error.to_string());
            }
            return Some(status::failed(error, caller.request));
        }
        let nature = method.nature();
        let over = account?.take_request(nature).err()?;
        self.metrics.calls_over_quota.inc();
        let identity = &caller.client.identity;
        now_and_then!(warn, identity, ?over, "an identity is over its quota");
        Some(status::over_quota(over, nature, caller.generation))
    }

    /// Whether this is a write that is thrown away.
    fn drops(&self, method: Method, caller: &Caller) -> bool {
        let writes = matches!(method.nature(), Nature::Upload | Nature::Name);
        if self.dropping.is_none() || !writes || caller.access.may_push() {
            return false;
        }
        self.metrics.writes_dropped.inc();
        let Client { identity, address } = &caller.client;
        now_and_then!(info, method = method.name, identity, ?address, "a write was taken and dropped");
        true
    }

    /// What this connection is busy with.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        self.connection.as_ref().map_or_else(Activity::new, |connection| Arc::clone(&connection.activity))
    }
}

impl<B> Service<Request<B>> for Calls
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Sent>;
    type Error = Infallible;
    type Future = Either<Call, Pin<Box<dyn Future<Output = Result<Response<Sent>, Infallible>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let waiting = match self.access(request.headers()) {
            Ok(access) => return Either::Left(self.begin(request, access)),
            Err(waiting) => waiting,
        };
        let mut calls = self.clone();
        Either::Right(Box::pin(async move {
            let busy = calls.connection.as_ref().map(|connection| connection.activity.call());
            let access = calls.credentials.access_with_newer_keys(calls.bounds, waiting).await;
            let call = calls.begin(request, access);
            drop(busy);
            call.await
        }))
    }
}

impl Calls {
    /// Begins a call that may do this.
    fn begin<B>(&mut self, mut request: Request<B>, access: (Access, Credential)) -> Call
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let of =
            |connection: &Arc<Connection>| connection.identity.address(request.headers(), connection.peer);
        let peer = self.connection.as_ref().and_then(of);
        let busy = self.connection.as_ref().map(|connection| connection.activity.call());
        let is_known = access.0.has_grants();
        let span =
            self.spans.as_ref().and_then(|spans| spans.begin(request.headers(), is_known)).map(Arc::new);
        let caller = Caller { span, ..Caller::new(access, peer, Generation::of(request.headers())) };
        let method = Method::of(request.uri().path());
        let granted = Some(&caller.client.identity).filter(|_| caller.access.has_grants());
        let account = granted.and_then(|identity| self.quotas.account(identity));
        let refusal = self.refusal(method, &caller, account.as_deref());
        let account = account.filter(|_| method.nature() == Nature::Upload);
        let record = Arc::new(Record::new(&caller, method, peer, account, Arc::clone(&self.metrics)));
        let hold = Arc::new(Hold::new(method.takes_many()));
        let terms = self.connection.as_ref().map(|connection| Terms {
            share: Arc::clone(&connection.share),
            hold: Arc::clone(&hold),
            method,
            generation: caller.generation,
            may_push: caller.access.may_push(),
        });
        let drops = refusal.is_none() && self.drops(method, &caller);
        request.extensions_mut().insert(caller);
        if let Some(terms) = &terms {
            request.extensions_mut().insert(terms.clone());
        }
        let request = request.map(|body| match terms {
            Some(terms) => Received::messages(body, Arc::clone(&record), terms),
            None => Received::new(body, Arc::clone(&record)),
        });
        let under_way = Some(UnderWay::new(record, busy));
        if let Some(refusal) = refusal {
            // Whoever may do nothing has nothing taken in, and no memory held.
            return Call { answer: Box::pin(async move { Ok(refusal.into_http()) }), under_way, hold };
        }
        let router = if drops { self.dropping.as_mut() } else { None };
        // What panics here is the routing, before anything of the call exists.
        let answer = router.unwrap_or(&mut self.router).call(request);
        Call { answer: Box::pin(answer), under_way, hold }
    }
}

/// A call until its answer begins.
pub(crate) struct Call {
    answer: Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>,
    under_way: Option<UnderWay>,
    hold: Arc<Hold>,
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
        self.hold.give_back();
        let under_way = self.under_way.take();
        let (mut parts, body) = response.into_parts();
        status::blame_the_request(&mut parts.headers);
        if let Some(under_way) = &under_way {
            parts.headers.insert(REQUEST_ID, under_way.record().request().to_header());
            refusals::tell(&parts.headers, under_way.record());
        }
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
