//! Who is calling: from the credential that a connection or a call shows to what it may do.
//!
//! **Invariant:** a credential that is shown and does not hold refuses the call, also where somebody without one might
//! do what is asked: whoever believes to be known should hear that they are not. What is refused is told to the client
//! as the status of its call, where clients show it, and not as a broken handshake, where they do not.

pub(crate) mod authorization;
mod connection;

use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use millpond_cache::{Access, Bounds, Clock, Identity};
use millpond_identity::{Identities, Refused};

pub(crate) use self::connection::ConnectionIdentity;

/// Whom this server knows. It may become others while it runs, and counts for the next call of every connection.
#[derive(Debug, Default)]
pub struct Credentials {
    identities: RwLock<Arc<Identities>>,
}

impl Credentials {
    /// Nobody but these.
    pub fn new(identities: Identities) -> Self {
        Self { identities: RwLock::new(Arc::new(identities)) }
    }

    /// From now on these, and nobody else.
    pub fn replace(&self, identities: Identities) {
        *self.identities.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identities);
    }

    fn now(&self) -> Arc<Identities> {
        Arc::clone(&self.identities.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a call may do that has these headers, on a connection like this one. A token in the headers goes before the
    /// connection's certificate.
    pub(crate) fn access(
        &self,
        bounds: Bounds,
        headers: &HeaderMap,
        connection: &ConnectionIdentity,
    ) -> Access {
        match authorization::token(headers) {
            Ok(None) => connection.access(self, bounds),
            Ok(Some(token)) => to_access(bounds, self.now().token(&token, Clock::unix_seconds())),
            Err(reason) => Access::refused(bounds, reason),
        }
    }
}

fn to_access(bounds: Bounds, found: Result<Arc<Identity>, Refused>) -> Access {
    match found {
        Ok(identity) => Access::known(bounds, identity),
        Err(refused) => Access::refused(bounds, refused.to_string()),
    }
}
