//! How a grant is written in the register.

use millpond_cache::{Grant, Pattern, Rights};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rights: Word,
    instances: Vec<String>,
    names: Vec<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Nothing,
    Pull,
    Push,
    Admin,
}

pub(crate) fn serialize<S: Serializer>(grant: &Grant, to: S) -> Result<S::Ok, S::Error> {
    let texts = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect();
    let rights = match grant.rights {
        Rights::Nothing => Word::Nothing,
        Rights::Pull => Word::Pull,
        Rights::Push => Word::Push,
        Rights::Admin => Word::Admin,
    };
    Written { rights, instances: texts(&grant.instances), names: texts(&grant.names) }.serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Grant, D::Error> {
    let written = Written::deserialize(from)?;
    let patterns = |texts: Vec<String>| {
        texts.into_iter().map(Pattern::new).collect::<Result<_, _>>().map_err(D::Error::custom)
    };
    Ok(Grant {
        rights: match written.rights {
            Word::Nothing => Rights::Nothing,
            Word::Pull => Rights::Pull,
            Word::Push => Rights::Push,
            Word::Admin => Rights::Admin,
        },
        instances: patterns(written.instances)?,
        names: patterns(written.names)?,
    })
}
