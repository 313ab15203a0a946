//! The identity of a connection: that of its client's certificate, or of the user of this machine at its other end.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use millpond_cache::{Access, Bounds, Clock, Grant, Identity, Rights};
use millpond_identity::Identities;

use super::{Credentials, to_access};

/// What the connection itself has shown of the client.
#[derive(Default)]
pub(crate) struct ConnectionIdentity {
    /// Its certificate in DER; `None` if it showed none, or speaks plain text.
    certificate: Option<Vec<u8>>,
    /// Who it is, where the kernel says so.
    user: Option<Arc<Identity>>,
    last: Mutex<Option<Last>>,
}

/// What came out last: a connection has many calls within a second.
struct Last {
    identities: Arc<Identities>,
    second: u64,
    access: Access,
}

impl ConnectionIdentity {
    /// Of a client that proved to hold the key of this certificate.
    pub(crate) fn of_certificate(certificate: Option<Vec<u8>>) -> Self {
        Self { certificate, ..Self::default() }
    }

    /// Of a user of this machine who administers this server.
    pub(crate) fn of_user(user: u32) -> Self {
        let name = format!("local:{user}");
        let identity = Identity { name, grants: vec![Grant::everywhere(Rights::Admin)], lacks: None };
        Self { user: Some(Arc::new(identity)), ..Self::default() }
    }

    /// What it may do now: a certificate that has expired or was revoked since the handshake does not hold any more.
    pub(super) fn access(&self, credentials: &Credentials, bounds: Bounds) -> Access {
        if let Some(user) = &self.user {
            return Access::known(bounds, Arc::clone(user));
        }
        let Some(certificate) = &self.certificate else { return Access::anonymous(bounds) };
        let (identities, second) = (credentials.now(), Clock::unix_seconds());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.second == second
            && Arc::ptr_eq(&last.identities, &identities)
        {
            return last.access.clone();
        }
        let access = to_access(bounds, identities.certificate(certificate, second));
        *last = Some(Last { identities, second, access: access.clone() });
        access
    }
}

impl fmt::Debug for ConnectionIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = self.certificate.as_ref().map(Vec::len);
        formatter
            .debug_struct("ConnectionIdentity")
            .field("certificate_bytes", &certificate)
            .field("user", &self.user)
            .finish()
    }
}
