//! A server, and all that it takes to speak to it.

use std::net::SocketAddr;

use http::HeaderValue;

use super::Target;
use super::tls::Tls;
use crate::credentials::{CredentialError, Credentials};

/// Where a server is, how TLS is spoken to it, and what each call shows.
#[derive(Clone)]
pub(crate) struct Server {
    pub(super) target: Target,
    /// Where to connect to, if that is not what the target's name stands for.
    pub(super) at: Option<SocketAddr>,
    pub(super) tls: Option<Tls>,
    pub(super) authorization: Option<HeaderValue>,
}

impl Server {
    /// Fails if the credentials cannot be used.
    pub(crate) fn new(target: &Target, credentials: &Credentials) -> Result<Self, CredentialError> {
        let tls = target.tls().then(|| Tls::new(target, credentials)).transpose()?;
        Ok(Self { target: target.clone(), at: None, tls, authorization: credentials.authorization()? })
    }

    /// The same, connected to at this address.
    pub(crate) fn at(self, address: SocketAddr) -> Self {
        Self { at: Some(address), ..self }
    }
}
