//! The identity of a connection: that of its client's certificate; behind a proxy, of the certificate that the proxy says its
//! client has shown; or of the user of this machine at its other end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use millpond_cache::{Access, Bounds, Clock, Grant, Identity, Rights};
use millpond_identity::Identities;

use super::forwarded::{self, Forwarded};
use super::{Credential, Credentials, to_access};

/// What is known of the client of a connection.
#[derive(Default)]
pub(crate) struct ConnectionIdentity {
    /// The certificate of its handshake in DER and what stands behind it; none if it showed none, or speaks plain text.
    chain: Vec<Vec<u8>>,
    /// The headers in which a proxy says for whom it asks; none if this is no proxy.
    forwarded: Forwarded,
    /// Who it is, where the kernel says so.
    user: Option<Arc<Identity>>,
    last: Mutex<Option<Last>>,
}

/// What came out last: a connection has many calls within a second.
struct Last {
    chain: Vec<Vec<u8>>,
    identities: Arc<Identities>,
    second: u64,
    access: Access,
}

impl ConnectionIdentity {
    /// Of a client that proved to hold the key of the first of these certificates.
    pub(crate) fn of_chain(chain: Vec<Vec<u8>>) -> Self {
        Self { chain, ..Self::default() }
    }

    /// Of a user of this machine who administers this server.
    pub(crate) fn of_user(user: u32) -> Self {
        let name = format!("local:{user}");
        let identity = Identity { name, grants: vec![Grant::everywhere(Rights::Admin)], lacks: None };
        Self { user: Some(Arc::new(identity)), ..Self::default() }
    }

    /// The same of a proxy, which says in these headers for whom it asks.
    pub(crate) fn behind(self, forwarded: Forwarded) -> Self {
        Self { forwarded, ..self }
    }

    /// Where a call comes from that has these headers, on a connection from `peer`. A proxy says no port.
    pub(crate) fn address(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        let header = self.forwarded.address.as_ref();
        let said = header.and_then(|header| forwarded::address(headers, header));
        said.map(|ip| SocketAddr::new(ip, 0)).or(peer)
    }

    /// What its client shows, if it shows anything.
    pub(super) fn credential(&self) -> Credential {
        if self.user.is_some() { Credential::User } else { Credential::Certificate }
    }

    /// What it may do now: a certificate that has expired or was revoked since the handshake does not hold any more. A
    /// proxy's client is nobody but whom the header says.
    pub(super) fn access(&self, credentials: &Credentials, bounds: Bounds, headers: &HeaderMap) -> Access {
        if let Some(user) = &self.user {
            return Access::known(bounds, Arc::clone(user));
        }
        let Some(header) = &self.forwarded.certificate else {
            return self.access_of(&self.chain, credentials, bounds);
        };
        match forwarded::chain(headers, header) {
            Ok(chain) => self.access_of(&chain, credentials, bounds),
            Err(reason) => Access::refused(bounds, reason, None),
        }
    }

    fn access_of(&self, chain: &[Vec<u8>], credentials: &Credentials, bounds: Bounds) -> Access {
        if chain.is_empty() {
            return Access::anonymous(bounds);
        }
        let (identities, second) = (credentials.now(), Clock::unix_seconds());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.second == second
            && last.chain == chain
            && Arc::ptr_eq(&last.identities, &identities)
        {
            return last.access.clone();
        }
        let access = to_access(bounds, identities.certificate(chain, second));
        *last = Some(Last { chain: chain.to_vec(), identities, second, access: access.clone() });
        access
    }
}

impl fmt::Debug for ConnectionIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("ConnectionIdentity");
        shown.field("certificates", &self.chain.len()).field("forwarded", &self.forwarded);
        shown.field("user", &self.user).finish_non_exhaustive()
    }
}
