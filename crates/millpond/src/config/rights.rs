//! What a listener allows, as flags and files name it.

use std::fmt;

use millpond_cache::Rights;
use serde::Deserialize;

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Allowed(pub(crate) Rights);

const ALL: [Rights; 4] = [Rights::Nothing, Rights::Pull, Rights::Push, Rights::Admin];

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = ALL.into_iter().find(|rights| rights.to_string() == text);
        let unknown =
            || format!("\"{text}\" is nothing that can be allowed: write none, pull, push or admin");
        known.map(Self).ok_or_else(unknown)
    }
}

/// Whether writes of those who may only pull are taken and thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Denied(pub(crate) bool);

impl TryFrom<String> for Denied {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "refuse" => Ok(Self(false)),
            "drop" => Ok(Self(true)),
            _ => Err(format!("\"{text}\" is nothing that becomes of a write: write refuse or drop")),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(if self.0 { "drop" } else { "refuse" })
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}
