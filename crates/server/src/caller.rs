//! Who is calling: what is known of a call before its message is read.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::{Extensions, HeaderValue};
use millpond_cache::{Access, Admin, Bounds, Cache, Client, Error, InstanceName, Permit, Pull, Push, Result};

use crate::identity::Credential;
use crate::otlp::Begun;
use crate::quirks::Generation;

/// Names one call in the log, and to the client when something of ours went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

impl RequestId {
    /// Another one: rising within a run, starting anywhere.
    pub(crate) fn next() -> Self {
        static START: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let start = START.get_or_init(random);
        Self(start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// As a header has it, which is how it is written everywhere.
    pub(crate) fn to_header(self) -> HeaderValue {
        // Hexadecimal digits are fit for a header.
        HeaderValue::try_from(self.to_string()).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The standard library's hash maps are seeded from the system's randomness.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// The caller of one call; `layers` puts it beside each request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) request: RequestId,
    pub(crate) access: Access,
    /// What it showed.
    pub(crate) credential: Credential,
    pub(crate) generation: Generation,
    pub(crate) client: Client,
    /// Of the call, if it has one.
    pub(crate) span: Option<Arc<Begun>>,
}

impl Caller {
    /// Somebody with this access.
    pub(crate) fn new(known: (Access, Credential), peer: Option<SocketAddr>, generation: Generation) -> Self {
        let (access, credential) = known;
        let address = peer.map(|peer| peer.ip().to_canonical());
        let client = Client { identity: access.identity().to_owned(), address };
        Self { request: RequestId::next(), access, credential, generation, client, span: None }
    }

    /// Whoever sent this request. Who came past the layers may only pull.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let known = extensions.get::<Self>();
        let stranger = || (Access::anonymous(Bounds::PULL_ONLY), Credential::None);
        known.cloned().unwrap_or_else(|| Self::new(stranger(), None, Generation::Other))
    }

    /// Who it is, or whose credential was shown that does not hold any more; empty for somebody unknown.
    pub(crate) fn name(&self) -> &str {
        self.access.refused_name().unwrap_or(&self.client.identity)
    }

    /// A permit to pull from the instance of that name.
    pub(crate) fn pull(&self, cache: &Cache, instance: &str) -> Result<Permit<Pull>> {
        let permit = self.access.pull(self.found(cache, instance)?, &self.client);
        permit.inspect_err(|error| self.note_denied(cache, instance, "pull", error))
    }

    /// A permit to push to the instance of that name.
    pub(crate) fn push(&self, cache: &Cache, instance: &str) -> Result<Permit<Push>> {
        let permit = self.access.push(self.found(cache, instance)?, &self.client);
        permit.inspect_err(|error| self.note_denied(cache, instance, "push", error))
    }

    /// A permit to administer, where an instance matters the one of that name.
    pub(crate) fn admin(&self, cache: &Cache, instance: &str) -> Result<Permit<Admin>> {
        let permit = self.access.admin(self.found(cache, instance)?, &self.client);
        permit.inspect_err(|error| self.note_denied(cache, instance, "admin", error))
    }

    /// The instance, which the call's span is told of.
    fn found(&self, cache: &Cache, instance: &str) -> Result<InstanceName> {
        let found = cache.instance(instance)?;
        self.span.iter().for_each(|span| span.set_instance(instance));
        Ok(found)
    }

    fn note_denied(&self, cache: &Cache, instance: &str, deed: &str, error: &Error) {
        if matches!(error, Error::Denied(_)) {
            cache.note_denied(&self.client, instance, deed);
        }
    }
}
