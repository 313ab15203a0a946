//! Who is calling: from the credential that a connection or a call shows to what it may do.
//!
//! **Invariant:** a credential that is shown and does not hold refuses the call, also where somebody without one might
//! do what is asked: whoever believes to be known should hear that they are not. What is refused is told to the client
//! as the status of its call, where clients show it, and not as a broken handshake, where they do not.

pub(crate) mod authorization;
mod connection;
pub(crate) mod forwarded;
mod issuers;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use millpond_cache::{Access, Bounds, Clock, Identity};
use millpond_identity::jwt::{Issuers, NotKnown};
use millpond_identity::{Declined, Expiring, Identities, is_token};

pub(crate) use self::connection::ConnectionIdentity;
use self::issuers::Source;
pub use self::issuers::TrustedIssuer;
use crate::metrics::CredentialMetrics;

/// Whom this server knows. It may become others while it runs, and counts for the next call of every connection.
#[derive(Default)]
pub struct Credentials {
    identities: RwLock<Arc<Identities>>,
    issuers: Issuers,
    sources: Vec<Arc<Source>>,
    metrics: CredentialMetrics,
}

/// What a call shows of who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Nothing.
    None,
    /// A certificate, by its connection or a proxy.
    Certificate,
    /// A token of ours.
    Token,
    /// A token of an issuer.
    IssuersToken,
    /// The kernel says which user of this machine it is.
    User,
    /// Something that does not hold.
    Refused,
}

impl Credential {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::None, Self::Certificate, Self::Token, Self::IssuersToken, Self::User, Self::Refused];

    /// As metrics have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "anonymous",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::IssuersToken => "issuer",
            Self::User => "local",
            Self::Refused => "refused",
        }
    }

    /// This one with what it allows, unless it was none, or was refused.
    fn with(self, access: Access) -> (Access, Self) {
        let credential = match (access.is_refused(), access.identity()) {
            (true, _) => Self::Refused,
            (false, "") => Self::None,
            (false, _) => self,
        };
        (access, credential)
    }
}

/// A call whose token may hold once keys have been fetched.
pub(crate) struct Waiting {
    token: String,
    source: Arc<Source>,
}

impl Credentials {
    /// Nobody but these, and those for whom these issuers vouch.
    ///
    /// # Errors
    /// What is wrong with what was given to know an issuer by.
    pub fn new(identities: Identities, trusted: Vec<TrustedIssuer>) -> Result<Self, String> {
        let issuers = Issuers::new(trusted.iter().map(|trusted| trusted.issuer.clone()).collect());
        let sources = issuers::sources(trusted)?;
        let identities = RwLock::new(Arc::new(identities));
        let metrics = CredentialMetrics::default();
        sources.iter().for_each(|source| metrics.know_issuer(source.name()));
        Ok(Self { identities, issuers, sources, metrics })
    }

    /// Keeps the keys of issuers fresh, for as long as it is polled.
    pub(crate) async fn follow_issuers(self: Arc<Self>) {
        let all = self.sources.iter().map(|source| source.follow(&self.issuers, &self.metrics));
        futures_util::future::join_all(all).await;
    }

    /// From now on these, and nobody else.
    pub fn replace(&self, identities: Identities) {
        *self.identities.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identities);
    }

    /// What is valid at `now` in Unix seconds and not for longer than these seconds; the soonest first.
    pub fn expiring(&self, within_seconds: u64, now: u64) -> Vec<Expiring> {
        self.now().expiring(within_seconds, now)
    }

    /// For the metrics: the last second of the server's certificate, if there is one, and that from which on another should have taken
    /// its place, both in Unix seconds; and how many others expire soon.
    pub fn say_expiry(&self, certificate: Option<u64>, due: Option<u64>, others: usize) {
        self.metrics.certificate.set(certificate.unwrap_or_default());
        self.metrics.certificate_due.set(due.unwrap_or_default());
        self.metrics.expiring.set(u64::try_from(others).unwrap_or(u64::MAX));
    }

    pub(crate) fn metrics(&self) -> &CredentialMetrics {
        &self.metrics
    }

    fn now(&self) -> Arc<Identities> {
        Arc::clone(&self.identities.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a call may do that has these headers, on a connection like this one. A token in the headers goes before the
    /// connection's certificate.
    ///
    /// # Errors
    /// That is not known yet.
    pub(crate) fn access(
        &self,
        bounds: Bounds,
        headers: &HeaderMap,
        connection: &ConnectionIdentity,
    ) -> Result<(Access, Credential), Waiting> {
        let token = match authorization::token(headers) {
            Ok(None) => {
                return Ok(connection.credential().with(connection.access(self, bounds, headers)));
            }
            Ok(Some(token)) => token,
            Err(reason) => return Ok(Credential::Refused.with(Access::refused(bounds, reason, None))),
        };
        if is_token(&token) || self.issuers.is_empty() {
            let found = self.now().token(&token, Clock::unix_seconds());
            return Ok(Credential::Token.with(to_access(bounds, found)));
        }
        match self.vouched_for(bounds, &token) {
            Ok(access) => Ok(Credential::IssuersToken.with(access)),
            Err((access, issuer)) => match self.sources.get(issuer) {
                Some(source) => Err(Waiting { token, source: Arc::clone(source) }),
                None => Ok(Credential::IssuersToken.with(access)),
            },
        }
    }

    /// What a call may do whose token may hold by now.
    pub(crate) async fn access_with_newer_keys(
        &self,
        bounds: Bounds,
        waiting: Waiting,
    ) -> (Access, Credential) {
        waiting.source.newer_keys().await;
        let access = self.vouched_for(bounds, &waiting.token).unwrap_or_else(|(access, _)| access);
        Credential::IssuersToken.with(access)
    }

    /// What the token of an issuer allows; or, if that may change once the keys of the issuer of a number were fetched, what
    /// it allows if it does not.
    fn vouched_for(&self, bounds: Bounds, token: &str) -> Result<Access, (Access, usize)> {
        match self.issuers.token(token, &self.now(), Clock::unix_seconds()) {
            Ok(identity) => Ok(Access::known(bounds, identity)),
            Err(NotKnown::Refused(refusal)) => {
                Ok(Access::refused(bounds, refusal.to_string(), refusal.name()))
            }
            Err(NotKnown::WantsKeys { issuer, refusal }) => {
                Err((Access::refused(bounds, refusal.to_string(), refusal.name()), issuer))
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}

fn to_access(bounds: Bounds, found: Result<Arc<Identity>, Declined>) -> Access {
    match found {
        Ok(identity) => Access::known(bounds, identity),
        Err(declined) => Access::refused(bounds, declined.to_string(), declined.name.as_deref()),
    }
}
