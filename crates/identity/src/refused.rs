//! Why a credential was refused, in words for whoever showed it.

use std::fmt;

use time::OffsetDateTime;

/// Why a certificate or token names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Never issued here, or not as it is.
    Unknown,
    /// From a time that has not come.
    NotYetValid,
    /// Its time is over.
    Expired {
        /// Since when, in Unix seconds.
        since: u64,
    },
    /// Taken back by the operator.
    Revoked,
    /// It has not the form of a credential.
    Malformed,
}

/// A credential that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// Why.
    pub why: Refused,
    /// Whose it was, where that is beyond doubt.
    pub name: Option<String>,
}

impl From<Refused> for Declined {
    fn from(why: Refused) -> Self {
        Self { why, name: None }
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(to)
    }
}

/// The day of a time in Unix seconds, as in 2026-11-24 (UTC).
pub fn day(unix_seconds: u64) -> String {
    let time =
        i64::try_from(unix_seconds).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    time.map_or_else(|| format!("second {unix_seconds}"), |time| time.date().to_string())
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => {
                to.write_str("this credential is not known here: ask the operator of this cache for one (what was issued just now counts within two seconds)")
            }
            Self::NotYetValid => {
                to.write_str("this credential is not valid yet: look at the clocks of both machines")
            }
            Self::Expired { since } => write!(
                to,
                "this credential expired on {}: ask the operator of this cache to renew it",
                day(*since)
            ),
            Self::Revoked => {
                to.write_str("this credential was revoked: ask the operator of this cache for a new one")
            }
            Self::Malformed => to.write_str(
                "this access token is damaged: the file must hold it whole and nothing else, as it was issued",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_of_the_expiry_is_told() {
        let told = Refused::Expired { since: 1_795_516_384 }.to_string();
        assert!(told.contains("expired on 2026-11-24"), "{told}");
        assert_eq!(day(u64::MAX), "second 18446744073709551615");
    }
}
