//! Addresses that clients connect to: accepting, limits, HTTP settings, draining.
//!
//! HTTP/2 and HTTP/1 share each port; what comes first on a connection tells them apart, with TLS and without.

pub(crate) mod accept;
pub(crate) mod addresses;
pub(crate) mod answers;
pub(crate) mod connection;
pub(crate) mod local;
pub(crate) mod proxy;
pub(crate) mod tls;
