//! How a pattern is written in the register.

use millpond_cache::Pattern;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(pattern: &Pattern, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(pattern)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pattern, D::Error> {
    Pattern::new(String::deserialize(from)?).map_err(D::Error::custom)
}
