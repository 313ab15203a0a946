//! Requests to the authority.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::fetch::Client;
use crate::location::Location;

/// Where they go to, and how long the authority asked to be left alone.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    retry_after: Arc<AtomicU64>,
}

impl Http {
    pub(super) fn new(client: Client) -> Self {
        Self { client, retry_after: Arc::default() }
    }

    /// What it asked for before counts no more.
    pub(super) fn begin(&self) {
        self.retry_after.store(0, Ordering::Relaxed);
    }

    /// Seconds, since then; 0 if it did not ask for any.
    pub(super) fn retry_after(&self) -> u64 {
        self.retry_after.load(Ordering::Relaxed)
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let Self { client, retry_after } = self.clone();
        Box::pin(async move {
            let failed = |why: String| Error::Other(why.into());
            let location: Location = request.uri().to_string().parse().map_err(failed)?;
            let answer = client.send(&location, request.map(Body::new)).await.map_err(failed)?;
            if matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                retry_after.fetch_max(seconds(answer.headers()), Ordering::Relaxed);
            }
            Ok(BytesResponse::from(answer.map(Body::from)))
        })
    }
}

/// Of the two forms of that header, the one that all authorities use.
fn seconds(headers: &HeaderMap) -> u64 {
    let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
