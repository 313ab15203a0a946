//! Lengths of time as Prometheus has them.

use std::fmt;

use millpond_cache::{DURATION_BOUNDS, Took};
use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Writes them as one histogram.
pub(super) fn encode(took: &Took, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(took.classes).collect();
    encoder.encode_histogram::<NoLabelSet>(took.seconds, took.count(), &buckets, None)
}
