//! `/metrics` for Prometheus and `/healthz` for whoever watches the process, on a listener of their own.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use millpond_cache::Cache;

use crate::metrics::Metrics;
use crate::status;

/// Scrapers are few.
pub(crate) const CONNECTIONS_MAX: usize = 64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const ELSEWHERE: &str = "not here: /metrics is for Prometheus, /healthz answers whether all is well\n";

/// The pages.
pub(crate) fn router(cache: Arc<Cache>, metrics: Arc<Metrics>) -> Router {
    let asked = Arc::clone(&cache);
    let health = async move || match asked.disk_hangs_for() {
        None => "ok\n".into_response(),
        Some(hangs) => (StatusCode::SERVICE_UNAVAILABLE, status::disk_hangs(hangs) + "\n").into_response(),
    };
    let page = move || scrape(Arc::clone(&cache), Arc::clone(&metrics));
    Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(health))
        .fallback(async || (StatusCode::NOT_FOUND, ELSEWHERE))
}

/// Figures may ask the disk, which may take its time.
async fn scrape(cache: Arc<Cache>, metrics: Arc<Metrics>) -> Response {
    match tokio::task::spawn_blocking(move || metrics.render(&cache.figures())).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
