//! An issuer that is trusted, and what its tokens have to be.

use std::fmt;
use std::str::FromStr;

use super::claims::{Claims, clean};
use super::{ClaimGrant, Refusal, name};

/// How far apart the clocks of issuer and server may be, in seconds.
pub(crate) const LEEWAY: u64 = 60;

/// An issuer that is trusted.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Short, and no other's: what the names of its holders begin with.
    pub name: String,
    /// As tokens name it.
    pub url: String,
    /// Of these a token must be for one.
    pub audiences: Vec<String>,
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// For how long after its expiry a token holds that was shown before, in seconds.
    pub grace: u64,
    /// What holders may do; all that match count.
    pub grants: Vec<ClaimGrant>,
}

/// The dates of a token that holds, in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dates {
    pub(super) issued: Option<u64>,
    pub(super) expires: u64,
}

impl Issuer {
    /// Whether an issuer may have this short name.
    pub fn is_name(name: &str) -> bool {
        name::is_issuer(name)
    }

    /// Refuses a token that is for somebody else, or from another time.
    pub(super) fn check(&self, claims: &Claims, now: u64) -> Result<Dates, Refusal> {
        let audiences = claims.texts("aud");
        if !audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(Refusal::Audience {
                found: claims.shown("aud"),
                wanted: clean(&self.audiences.join(", ")),
            });
        }
        let expires = claims.time("exp").ok_or(Refusal::Lacks("exp"))?;
        let not_before = self.time(claims, "nbf")?;
        let issued = self.time(claims, "iat")?;
        if not_before.max(issued).is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
            return Err(Refusal::NotYetValid);
        }
        if now > expires.saturating_add(LEEWAY) {
            return Err(Refusal::Expired { since: expires });
        }
        Ok(Dates { issued, expires })
    }

    /// A time that need not be there, but must be one if it is.
    fn time(&self, claims: &Claims, name: &'static str) -> Result<Option<u64>, Refusal> {
        match claims.time(name) {
            None if claims.has(name) => Err(Refusal::Lacks(name)),
            time => Ok(time),
        }
    }
}

/// How tokens may be signed: with a key pair, never with a shared secret and never not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are what RFC 7518 calls them")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
    ];

    pub(super) fn is_rsa(self) -> bool {
        !matches!(self, Self::ES256 | Self::ES384)
    }

    pub(super) fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, to)
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.to_string() == text).ok_or_else(|| {
            let all = Self::ALL.map(|known| known.to_string()).join(", ");
            format!("\"{text}\" is no algorithm by which tokens may be signed: write some of {all}")
        })
    }
}
