//! A server without Remote Asset: a front that passes every call on to a real one, and refuses those as unknown.
//! BuildStream 1.6 then names its artifacts by references, as before 1.6.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The calls that are refused.
const ASSETS: &str = "/build.bazel.remote.asset.v1.";
/// The code of gRPC for a call that a server does not have.
const UNIMPLEMENTED: &str = "12";

/// A front that runs until the test's process ends.
pub(crate) struct WithoutAssets {
    url: String,
    refusals: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Behind {
    client: Client<HttpConnector, Body>,
    authority: Authority,
    refusals: Arc<AtomicUsize>,
}

impl WithoutAssets {
    /// Starts a front of the server at `url`.
    pub(crate) fn before(url: &str) -> Self {
        let refusals = Arc::new(AtomicUsize::new(0));
        let behind = Behind {
            client: Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new()),
            authority: url.trim_start_matches("http://").parse().unwrap(),
            refusals: Arc::clone(&refusals),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, Router::new().fallback(pass_on).with_state(behind)).await.unwrap();
            });
        });
        Self { url, refusals }
    }

    /// What clients are told.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many calls were refused.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::Relaxed)
    }
}

async fn pass_on(State(behind): State<Behind>, mut request: Request) -> Response {
    if request.uri().path().starts_with(ASSETS) {
        behind.refusals.fetch_add(1, Ordering::Relaxed);
        return ([("content-type", "application/grpc"), ("grpc-status", UNIMPLEMENTED)], "").into_response();
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(behind.authority);
    parts.scheme = Some(axum::http::uri::Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    match behind.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
