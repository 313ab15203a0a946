//! Certificates and tokens as they are listed: without secrets, with their state.

use std::fmt::{self, Display, Formatter};

use millpond_cache::Pattern;
use millpond_identity::{CertificateEntry, Fingerprint, TokenEntry, day};
use serde::Serialize;

use super::grant::words;

/// One certificate or token. Times are Unix seconds.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    name: String,
    /// What finds a token, which is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Of a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Fingerprint>,
    rights: String,
    instances: Vec<String>,
    names: Vec<String>,
    issued: u64,
    not_after: Option<u64>,
    revoked: Option<u64>,
    state: State,
    #[serde(skip)]
    may: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Valid,
    Expired,
    Revoked,
}

fn state(not_after: Option<u64>, revoked: Option<u64>, now: u64) -> State {
    if revoked.is_some() {
        State::Revoked
    } else if not_after.is_some_and(|not_after| now > not_after) {
        State::Expired
    } else {
        State::Valid
    }
}

fn texts(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(Pattern::to_string).collect()
}

impl Listed {
    /// A certificate, at this time.
    pub(super) fn certificate(entry: &CertificateEntry, now: u64) -> Self {
        Self {
            name: entry.name.clone(),
            id: None,
            sha256: Some(entry.sha256),
            rights: entry.grant.rights.to_string(),
            instances: texts(&entry.grant.instances),
            names: texts(&entry.grant.names),
            issued: entry.issued,
            not_after: Some(entry.not_after),
            revoked: entry.revoked,
            state: state(Some(entry.not_after), entry.revoked, now),
            may: words(&entry.grant),
        }
    }

    /// A token, at this time.
    pub(super) fn token(entry: &TokenEntry, now: u64) -> Self {
        Self {
            name: entry.name.clone(),
            id: Some(entry.id.clone()),
            sha256: None,
            rights: entry.grant.rights.to_string(),
            instances: texts(&entry.grant.instances),
            names: texts(&entry.grant.names),
            issued: entry.issued,
            not_after: entry.expires,
            revoked: entry.revoked,
            state: state(entry.expires, entry.revoked, now),
            may: words(&entry.grant),
        }
    }
}

impl Display for Listed {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let fingerprint = self.sha256.map(|sha256| format!("{:.8}", sha256.to_string()));
        let which = self.id.clone().or(fingerprint).unwrap_or_default();
        write!(to, "{:<20} {which}  ", self.name)?;
        match (self.revoked, self.not_after) {
            (Some(revoked), _) => write!(to, "revoked {}      ", day(revoked))?,
            (None, None) => write!(to, "does not expire         ")?,
            (None, Some(end)) if self.state == State::Expired => write!(to, "expired {}      ", day(end))?,
            (None, Some(end)) => write!(to, "valid until {}  ", day(end))?,
        }
        writeln!(to, "{}", self.may)
    }
}
