//! A token as it was presented, taken apart. Nothing in it is proven.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refusal;
use super::claims::Claims;

/// The longest token that is looked at, in bytes. Those of GitLab and GitHub have about 2 KiB.
pub(super) const LENGTH_MAX: usize = 8 * 1024;

/// A token taken apart.
#[derive(Debug)]
pub(super) struct Presented<'t> {
    pub(super) header: Header,
    pub(super) claims: Claims,
    /// What was signed.
    pub(super) message: &'t str,
    /// In base64.
    pub(super) signature: &'t str,
}

/// What the header says. Keys and places of keys that it may name as well are not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that must be understood, and none is.
    crit: Option<Value>,
}

impl<'t> Presented<'t> {
    /// Takes a token apart.
    pub(super) fn read(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > LENGTH_MAX {
            return Err(Refusal::TooLong { bytes: token.len() });
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Refusal::Malformed)?;
        let header: Header = part(header)?;
        let claims: Map<String, Value> = part(claims)?;
        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        Ok(Self { header, claims: Claims::new(claims), message, signature })
    }
}

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Result<T, Refusal> {
    let json = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)
}
