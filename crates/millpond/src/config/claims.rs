//! Claims that a token must have, as a file writes them: `{ project_path = "team/*", ref_protected = true }`.

use std::collections::BTreeMap;
use std::fmt;

use millpond_cache::Pattern;
use serde::Deserialize;

use super::environment::quoted;
use super::lists::{OneOrMore, written};

/// Each claim with the patterns of which it must match one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, OneOrMore<Word>>")]
pub(crate) struct Claims(pub(crate) Vec<(String, Vec<Pattern>)>);

/// Claims are compared as text, so each of these is one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string, a number or a boolean, or a list of these")]
enum Word {
    Text(String),
    Boolean(bool),
    Number(i64),
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text,
            Word::Boolean(value) => value.to_string(),
            Word::Number(value) => value.to_string(),
        }
    }
}

impl TryFrom<BTreeMap<String, OneOrMore<Word>>> for Claims {
    type Error = String;

    fn try_from(given: BTreeMap<String, OneOrMore<Word>>) -> Result<Self, String> {
        if given.is_empty() {
            return Err("without a claim it would be for every token of the issuer: write one, sub = \"*\" if that is meant".into());
        }
        let claim = |(name, words): (String, OneOrMore<Word>)| {
            let patterns = words.into_vec().into_iter().map(Pattern::new).collect::<Result<Vec<_>, _>>();
            match patterns {
                Ok(patterns) if patterns.is_empty() => Err(format!("{name} has no value that could match")),
                Ok(patterns) => Ok((name, patterns)),
                Err(error) => Err(format!("{name}: {error}")),
            }
        };
        given.into_iter().map(claim).collect::<Result<_, _>>().map(Self)
    }
}

/// As a file has them.
impl fmt::Display for Claims {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claim =
            |(name, patterns): &(String, Vec<Pattern>)| format!("{} = {}", quoted(name), written(patterns));
        let claims: Vec<_> = self.0.iter().map(claim).collect();
        write!(to, "{{ {} }}", claims.join(", "))
    }
}
