//! `/metrics` for Prometheus and `/healthz` for whoever watches the process, on a listener of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use millpond_cache::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::metrics::{Format, Metrics};
use crate::status;

/// Scrapers are few.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// What whoever wants OpenMetrics says that they take.
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_1: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const ELSEWHERE: &str = "not here: /metrics is for Prometheus, /healthz answers whether all is well\n";

/// The pages.
pub(crate) fn router(cache: Arc<Cache>, metrics: Arc<Metrics>) -> Router {
    let asked = Arc::clone(&cache);
    let health = async move || match asked.disk_hangs_for() {
        None => "ok\n".into_response(),
        Some(hangs) => (StatusCode::SERVICE_UNAVAILABLE, status::disk_hangs(hangs) + "\n").into_response(),
    };
    let page = move |headers: HeaderMap| scrape(Arc::clone(&cache), Arc::clone(&metrics), format(&headers));
    Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(health))
        .fallback(async || (StatusCode::NOT_FOUND, ELSEWHERE))
}

fn format(headers: &HeaderMap) -> Format {
    let mut taken = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if taken.any(|kinds| kinds.contains(OPEN_METRICS)) { Format::OpenMetrics } else { Format::Prometheus }
}

/// How long a request waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Figures may ask the disk, which may take its time. Whoever asks meanwhile waits for a while, so that no more than one thread does.
async fn scrape(cache: Arc<Cache>, metrics: Arc<Metrics>, format: Format) -> Response {
    static ONE: Semaphore = Semaphore::const_new(1);
    let Ok(Ok(turn)) = timeout(PATIENCE, ONE.acquire()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the disk has not answered the request before this one\n")
            .into_response();
    };
    let kind = match format {
        Format::OpenMetrics => OPEN_METRICS_1,
        Format::Prometheus => PROMETHEUS,
    };
    let rendered = tokio::task::spawn_blocking(move || {
        // Until it is over: the one who asked may be gone by then.
        let _turn = turn;
        metrics.render(&cache.figures(), format)
    });
    match rendered.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
