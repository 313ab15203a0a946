//! Why a token was refused, in words for whoever showed it.

use std::fmt;

use super::presented::LENGTH_MAX;
use crate::day;

/// Why a token names nobody. What is quoted of it has been cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token at all, or not a whole one.
    Malformed,
    /// Longer than any token has reason to be.
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nobody has signed it.
    Unsigned,
    /// Signed in a way that is not taken.
    Algorithm {
        /// The ways that are.
        allowed: String,
    },
    /// By somebody who is not trusted here.
    Issuer {
        /// Whom it names.
        found: String,
    },
    /// For somebody else.
    Audience {
        /// For whom.
        found: String,
        /// Whom it should be for.
        wanted: String,
    },
    /// From a time that has not come.
    NotYetValid,
    /// Its time is over, and it was not shown before that.
    Expired {
        /// Since when, in Unix seconds.
        since: u64,
    },
    /// Its time is over, and so is the time after that in which it held because it had been shown before.
    ExpiredForGood {
        /// Since when, in Unix seconds.
        since: u64,
        /// Whose it was.
        name: String,
    },
    /// A claim without which it is no token for us, or one that is not of its kind.
    Lacks(&'static str),
    /// Its key is none of its issuer's.
    UnknownKey {
        /// The issuer's short name.
        issuer: String,
    },
    /// Its key is not for that.
    UnfitKey,
    /// The issuer's keys are not known yet.
    NoKeys {
        /// The issuer's short name.
        issuer: String,
    },
    /// Somebody else has signed it, or it was changed.
    Signature,
    /// Taken back by the operator.
    Revoked {
        /// Whose it was.
        name: String,
    },
}

impl Refusal {
    /// Whose the token was, where that is beyond doubt.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::ExpiredForGood { name, .. } | Self::Revoked { name } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => to.write_str(
                "this access token is damaged: the file must hold it whole and nothing else, as it was issued",
            ),
            Self::TooLong { bytes } => write!(
                to,
                "this access token has {bytes} bytes, and {LENGTH_MAX} at most are taken: let the issuer put fewer claims \
                 into it"
            ),
            Self::Unsigned => {
                to.write_str("this access token is not signed: show the one that the issuer made, as it is")
            }
            Self::Algorithm { allowed } => write!(
                to,
                "this access token is signed in a way that is not taken here: let the issuer sign by {allowed}"
            ),
            Self::Issuer { found } => write!(
                to,
                "access tokens of the issuer {found} are not taken here: ask the operator of this cache which are"
            ),
            Self::Audience { found, wanted } => write!(
                to,
                "this access token is for the audience {found}: request one for {wanted} (`aud` of a GitLab job's \
                 id_tokens, `audience` at GitHub)"
            ),
            Self::NotYetValid => to.write_str(
                "this access token is not valid yet: look at the clocks of the issuer and of this cache",
            ),
            Self::Expired { since } => write!(
                to,
                "this access token expired on {} and was not shown here before that: request a new one where the job begins",
                day(*since)
            ),
            Self::ExpiredForGood { since, .. } => write!(
                to,
                "this access token expired on {}, longer ago than the operator of this cache allows: request a new one",
                day(*since)
            ),
            Self::Lacks(claim) => {
                write!(to, "this access token has no {claim} that could be read: let the issuer put one into it")
            }
            Self::UnknownKey { issuer } => write!(
                to,
                "this access token is signed with a key that {issuer} does not publish: request a new one, or try again in \
                 a minute if the issuer has just changed its keys"
            ),
            Self::UnfitKey => to.write_str(
                "this access token is signed with a key that is not for its algorithm: show one that the issuer made, as \
                 it is",
            ),
            Self::NoKeys { issuer } => write!(
                to,
                "access tokens of {issuer} cannot be checked, since its keys could not be fetched yet: try again in a \
                 minute; the log of this cache says why"
            ),
            Self::Signature => to.write_str(
                "the signature of this access token is wrong: show the one that the issuer made, as it is",
            ),
            Self::Revoked { .. } => to.write_str(
                "this access token was revoked: ask the operator of this cache, or request a new one",
            ),
        }
    }
}
