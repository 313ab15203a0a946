//! The public keys of an issuer (JWKS, RFC 7517), and which of them a token is checked with.

use std::fmt;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use super::issuer::Algorithm;

/// Keys of one issuer that are looked at.
const KEYS_MAX: usize = 100;

/// The keys of an issuer that can sign.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    jwk: Jwk,
    key: DecodingKey,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None of that name; the issuer may have made it since.
    Unknown,
    /// It is not for that algorithm, or not for signing.
    Unfit,
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads what an issuer publishes. Keys of kinds that are not known here are left out.
    ///
    /// # Errors
    /// It is no set of keys, or has none that could be used.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let written: Written =
            serde_json::from_slice(json).map_err(|error| format!("this is no set of keys: {error}"))?;
        if written.keys.len() > KEYS_MAX {
            return Err(format!(
                "there are {} keys, and {KEYS_MAX} at most are looked at",
                written.keys.len()
            ));
        }
        let keys: Vec<_> = written.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err("there is no key for signatures in it".into()) } else { Ok(Self(keys)) }
    }

    /// The key that a token names, or, if it names none, the only one that fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, NoKey> {
        let mut named = self.0.iter().filter(|key| id.is_none() || key.id.as_deref() == id).peekable();
        if named.peek().is_none() {
            return Err(NoKey::Unknown);
        }
        let mut fitting = named.filter(|key| key.is_for(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(&key.key),
            _ => Err(NoKey::Unfit),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn read(json: Value) -> Option<Self> {
        let jwk = Jwk::deserialize(json).ok()?;
        // A shared secret that stands where everybody may read it would let everybody sign.
        let public =
            matches!(jwk.algorithm, AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_));
        let key = public.then(|| DecodingKey::from_jwk(&jwk).ok())??;
        Some(Self { id: jwk.common.key_id.clone(), jwk, key })
    }

    /// Whether its kind, and all that it says of itself, allows it to be used so.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let common = &self.jwk.common;
        let kind = match &self.jwk.algorithm {
            AlgorithmParameters::RSA(_) => algorithm.is_rsa(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => algorithm == Algorithm::ES256,
                EllipticCurve::P384 => algorithm == Algorithm::ES384,
                _ => false,
            },
            _ => false,
        };
        let named = common.key_algorithm.is_none_or(|own| own.to_string() == algorithm.to_string());
        let signs = common.public_key_use.as_ref().is_none_or(|own| *own == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|own| own.contains(&KeyOperations::Verify));
        kind && named && signs && verifies
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}
