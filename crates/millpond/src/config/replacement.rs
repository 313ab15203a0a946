//! Rules about who may give a name another value, as a file writes them.

use millpond_cache::{Otherwise, Pattern, Replacement};
use serde::Deserialize;

use super::Given;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The names that it is for.
    pub(crate) names: Given<Names>,
    /// Whose value may be replaced.
    pub(crate) by: Given<By>,
    /// And what becomes of a push that may not.
    pub(crate) otherwise: Given<Else>,
}

/// A pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Names(pub(crate) Pattern);

impl TryFrom<String> for Names {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Pattern::new(text).map(Self).map_err(|error| error.to_string())
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(to)
    }
}

/// Words of a file, each with what it means, in a type of their own.
macro_rules! words {
    ($(#[$text:meta])* $name:ident($meaning:ty), $kind:literal, [$($word:literal => $value:expr),+]) => {
        $(#[$text])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(pub(crate) $meaning);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                match text.as_str() {
                    $($word => Ok(Self($value)),)+
                    _ => Err(format!("\"{text}\" is {}: write {}", $kind, [$($word),+].join(" or "))),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let words = [$(($value, $word)),+];
                to.write_str(words.iter().find(|(value, _)| *value == self.0).map_or("", |(_, word)| word))
            }
        }
    };
}

pub(super) use words;

words!(
    /// Whose value may be replaced.
    By(Replacement), "nobody whose value could be replaced",
    ["anyone" => Replacement::Anyone, "same" => Replacement::SameIdentity, "nobody" => Replacement::Nobody]
);
words!(
    /// What becomes of a push that may not.
    Else(Otherwise), "nothing that becomes of a push",
    ["keep" => Otherwise::KeepQuietly, "refuse" => Otherwise::Refuse]
);
