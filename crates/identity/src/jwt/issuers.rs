//! The issuers that are trusted, with their keys, and the tokens that were found to hold.
//!
//! A token that holds is remembered by its hash: it costs little from then on, and goes on to hold for the grace of its
//! issuer when its time is over, so that no build dies of being long.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::crypto;
use millpond_cache::Identity;
use quick_cache::sync::Cache;

use super::claims::clean;
use super::issuer::{Algorithm, Dates, LEEWAY};
use super::keys::NoKey;
use super::presented::Presented;
use super::{Issuer, KeySet, Refusal, grants, name};
use crate::{Fingerprint, Identities};

/// Tokens that are remembered, of all issuers together. Those that were used least go first; with the largest grants that
/// are usual they take about 10 MB.
const REMEMBERED_MAX: usize = 10_000;

/// Everybody who may make tokens for this server.
pub struct Issuers {
    trusted: Vec<Trusted>,
    remembered: Cache<Fingerprint, Remembered>,
}

struct Trusted {
    issuer: Issuer,
    /// `None` until they were fetched once.
    keys: RwLock<Option<Arc<KeySet>>>,
}

/// A token that held when it was first shown.
#[derive(Clone)]
struct Remembered {
    identity: Arc<Identity>,
    dates: Dates,
    /// The last second in which it holds.
    until: u64,
}

/// Why a token names nobody, as things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotKnown {
    /// It does not hold.
    Refused(Refusal),
    /// The keys of the issuer of this number are not known, or not this one: it may hold once they have been fetched.
    WantsKeys {
        /// In the order in which issuers were given.
        issuer: usize,
        /// What it is told if that changes nothing.
        refusal: Refusal,
    },
}

impl From<Refusal> for NotKnown {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Issuers {
    /// These, whose keys are not known yet.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        let trusted = issuers.into_iter().map(|issuer| Trusted { issuer, keys: RwLock::default() });
        Self { trusted: trusted.collect(), remembered: Cache::new(REMEMBERED_MAX) }
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Takes the keys of the issuer of this number for its only ones.
    pub fn replace_keys(&self, issuer: usize, keys: KeySet) {
        if let Some(trusted) = self.trusted.get(issuer) {
            *trusted.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
        }
    }

    /// Whose this token is, at this time in Unix seconds. `identities` knows which were revoked.
    pub fn token(&self, token: &str, identities: &Identities, now: u64) -> Result<Arc<Identity>, NotKnown> {
        let hash = Fingerprint::of(token.as_bytes());
        let known = self.remembered.get(&hash);
        let is_new = known.is_none();
        let remembered = known.map_or_else(|| self.check(token, now), Ok)?;
        let Remembered { identity, dates, until } = &remembered;
        if now > *until {
            let name = identity.name.clone();
            return Err(Refusal::ExpiredForGood { since: dates.expires, name }.into());
        }
        if identities.is_revoked(&identity.name, dates.issued) {
            return Err(Refusal::Revoked { name: identity.name.clone() }.into());
        }
        let identity = Arc::clone(identity);
        // What nothing was granted to is had by anybody from an issuer that serves all the world, and would push out others.
        if is_new && !identity.grants.is_empty() {
            self.remembered.insert(hash, remembered);
        }
        Ok(identity)
    }

    fn check(&self, token: &str, now: u64) -> Result<Remembered, NotKnown> {
        let presented = Presented::read(token)?;
        let Presented { header, claims, message, signature } = &presented;
        if header.alg.eq_ignore_ascii_case("none") || signature.is_empty() {
            return Err(Refusal::Unsigned.into());
        }
        let named = claims.string("iss").ok_or(Refusal::Lacks("iss"))?;
        let found = self.trusted.iter().enumerate().find(|(_, trusted)| trusted.issuer.url == named);
        let (number, Trusted { issuer, keys }) =
            found.ok_or_else(|| Refusal::Issuer { found: clean(named) })?;
        let algorithm = issuer.algorithm(&header.alg)?;
        let dates = issuer.check(claims, now)?;
        let subject = claims.string("sub").ok_or(Refusal::Lacks("sub"))?;
        let name = name::of(&issuer.name, subject).ok_or(Refusal::Lacks("sub"))?;
        let wants_keys = |refusal| NotKnown::WantsKeys { issuer: number, refusal };
        let keys = keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = keys.ok_or_else(|| wants_keys(Refusal::NoKeys { issuer: issuer.name.clone() }))?;
        let key = keys.find(header.kid.as_deref(), algorithm).map_err(|no_key| match no_key {
            NoKey::Unknown => wants_keys(Refusal::UnknownKey { issuer: issuer.name.clone() }),
            NoKey::Unfit => Refusal::UnfitKey.into(),
        })?;
        let verified = crypto::verify(signature, message.as_bytes(), key, algorithm.of_library());
        if !verified.is_ok_and(|verified| verified) {
            return Err(Refusal::Signature.into());
        }
        let (grants, lacks) = grants::of(&issuer.grants, claims);
        let until = dates.expires.saturating_add(issuer.grace.max(LEEWAY));
        Ok(Remembered { identity: Arc::new(Identity { name, grants, lacks }), dates, until })
    }
}

impl Issuer {
    fn algorithm(&self, named: &str) -> Result<Algorithm, Refusal> {
        let allowed = || self.algorithms.iter().map(Algorithm::to_string).collect::<Vec<_>>().join(" or ");
        let known = named.parse().ok().filter(|algorithm| self.algorithms.contains(algorithm));
        known.ok_or_else(|| Refusal::Algorithm { allowed: allowed() })
    }
}

impl Default for Issuers {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.trusted.iter().map(|trusted| &trusted.issuer.name).collect();
        to.debug_struct("Issuers").field("names", &names).finish_non_exhaustive()
    }
}
