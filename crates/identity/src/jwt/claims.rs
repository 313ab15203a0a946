//! What a token claims.

use serde_json::{Map, Value};

/// Characters of a claim that are shown.
const SHOWN: usize = 100;

/// The claims of a token.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Those of a token's payload.
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim that is a string.
    pub(super) fn string(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim that is a time, in whole Unix seconds. Fractions of one are left out, as the RFC allows them.
    pub(super) fn time(&self, name: &str) -> Option<u64> {
        let number = self.0.get(name)?;
        number.as_u64().or_else(|| {
            let seconds = number.as_f64().filter(|seconds| *seconds >= 0.0)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is none below zero, and the cast ends at the largest"
            )]
            Some(seconds as u64)
        })
    }

    /// Whether it is there at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a claim as text: of a list each, of a string, number or boolean one. Anything deeper has none.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Array(values)) => values.iter().filter_map(text).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A claim for people to read.
    pub(super) fn shown(&self, name: &str) -> String {
        let texts = self.texts(name);
        if texts.is_empty() { "none".to_owned() } else { clean(&texts.join(", ")) }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What others wrote goes into logs and answers: nothing that moves a cursor, and not without end.
pub(super) fn clean(text: &str) -> String {
    let printable =
        |character: char| if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    text.chars().take(SHOWN).map(printable).collect()
}
