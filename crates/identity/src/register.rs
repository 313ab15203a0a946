//! The register: every certificate and token that was issued, with what its holder may do, in one file.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::{fs, io};

use millpond_cache::{Grant, Pattern};
use serde::{Deserialize, Serialize};

use crate::files::{self, Turn};
use crate::jwt::LEEWAY;
use crate::{Error, Fingerprint, Keys, grant, pattern};

/// The format that this release writes.
const FORMAT: u64 = 1;

/// The content of `identities.json`. All times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    format: u64,
    /// Certificates, the oldest first.
    pub certificates: Vec<CertificateEntry>,
    /// Tokens, the oldest first.
    pub tokens: Vec<TokenEntry>,
    /// Of issuers: whose tokens were taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recalls: Vec<Recall>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateEntry {
    /// Whose.
    pub name: String,
    /// Of its DER.
    pub sha256: Fingerprint,
    /// The last second in which it is valid.
    pub not_after: u64,
    /// What its holder may do.
    #[serde(with = "grant")]
    pub grant: Grant,
    /// When it was issued.
    pub issued: u64,
    /// When it was revoked, if it was.
    pub revoked: Option<u64>,
}

/// A token that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Whose.
    pub name: String,
    /// What it is found by, which is no secret.
    pub id: String,
    /// Of its secret part.
    pub sha256: Fingerprint,
    /// The last second in which it is valid; `None` if it does not expire.
    pub expires: Option<u64>,
    /// What its holder may do.
    #[serde(with = "grant")]
    pub grant: Grant,
    /// When it was issued.
    pub issued: u64,
    /// When it was revoked, if it was.
    pub revoked: Option<u64>,
}

/// Tokens of issuers that were taken back: those that were issued until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recall {
    /// Of those who have a name like this.
    #[serde(with = "pattern")]
    pub names: Pattern,
    /// When they were revoked.
    pub revoked: u64,
}

impl Recall {
    /// Whether it is for a token of this name from this time in Unix seconds. An issuer whose clock is ahead must not make
    /// tokens that cannot be revoked.
    pub(crate) fn covers(&self, name: &str, issued: Option<u64>) -> bool {
        let before = issued.is_none_or(|issued| issued <= self.revoked.saturating_add(LEEWAY));
        before && self.names.matches(name)
    }
}

/// What every format has.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

impl Default for Register {
    fn default() -> Self {
        Self { format: FORMAT, certificates: Vec::new(), tokens: Vec::new(), recalls: Vec::new() }
    }
}

impl Register {
    /// As it stands; empty if nothing was issued yet.
    pub fn load(keys: &Keys) -> Result<Self, Error> {
        let path = keys.register();
        let content = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(Error::io(&path, "read"))?,
        };
        let malformed = |error: serde_json::Error| Error::malformed(&path, error.to_string());
        // A newer format may have more fields, which is no reason to call it malformed.
        let Head { format } = serde_json::from_slice(&content).map_err(malformed)?;
        if format > FORMAT {
            return Err(Error::NewerFormat { path, found: format, known: FORMAT });
        }
        let register: Self = serde_json::from_slice(&content).map_err(malformed)?;
        register.check().map_err(|reason| Error::malformed(&path, reason))?;
        Ok(register)
    }

    /// Changes it, with nobody else changing it meanwhile: what others wrote before stays.
    pub(crate) fn change<T>(
        keys: &Keys,
        change: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = Turn::take(keys)?;
        let mut register = Self::load(keys)?;
        let made = change(&mut register)?;
        let mut content = serde_json::to_vec_pretty(&register)
            .map_err(|error| Error::io(&keys.register(), "written")(io::Error::from(error)))?;
        content.push(b'\n');
        files::write(&keys.register(), &content, 0o600)?;
        Ok(made)
    }

    /// That no credential stands there twice: which entry holds would be a matter of chance.
    fn check(&self) -> Result<(), String> {
        let mut certificates = HashSet::new();
        if let Some(twice) = self.certificates.iter().find(|entry| !certificates.insert(entry.sha256)) {
            return Err(format!("the certificate {} of {} is there twice", twice.sha256, twice.name));
        }
        let mut tokens = HashSet::new();
        if let Some(twice) = self.tokens.iter().find(|entry| !tokens.insert(&entry.id)) {
            return Err(format!("the token {} of {} is there twice", twice.id, twice.name));
        }
        if self.format == FORMAT { Ok(()) } else { Err(format!("there is no format {}", self.format)) }
    }
}
