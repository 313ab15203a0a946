//! What is served in plain HTTP.

pub(crate) mod metrics;
