//! Lists in a file: one value may stand for a list of it.

use std::fmt::{self, Display};
use std::net::IpAddr;

use ipnet::IpNet;
use millpond_cache::Pattern;
use serde::Deserialize;

use super::environment::quoted;

/// A value, or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(super) enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    /// All of them.
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::More(values) => values,
        }
    }
}

/// Texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore<String>")]
pub(crate) struct Texts(pub(crate) Vec<String>);

impl TryFrom<OneOrMore<String>> for Texts {
    type Error = String;

    fn try_from(given: OneOrMore<String>) -> Result<Self, String> {
        let texts = given.into_vec();
        let empty = texts.is_empty() || texts.iter().any(String::is_empty);
        if empty { Err("it is empty: write one or more".into()) } else { Ok(Self(texts)) }
    }
}

/// Patterns, in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore<String>")]
pub(crate) struct Patterns(pub(crate) Vec<Pattern>);

impl TryFrom<OneOrMore<String>> for Patterns {
    type Error = String;

    fn try_from(given: OneOrMore<String>) -> Result<Self, String> {
        let patterns = given.into_vec().into_iter().map(Pattern::new).collect::<Result<Vec<_>, _>>();
        let patterns = patterns.map_err(|error| error.to_string())?;
        if patterns.is_empty() { Err("it is empty: leave it out for all".into()) } else { Ok(Self(patterns)) }
    }
}

/// Addresses, and networks of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMore<String>")]
pub(crate) struct Networks(pub(crate) Vec<IpNet>);

impl TryFrom<OneOrMore<String>> for Networks {
    type Error = String;

    fn try_from(given: OneOrMore<String>) -> Result<Self, String> {
        let networks: Vec<_> = given.into_vec().iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        if networks.is_empty() {
            Err("it is empty: leave it out for none".into())
        } else {
            Ok(Self(networks))
        }
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let unknown =
        || format!("\"{text}\" is no address: write it as in 192.0.2.10, or a network as in 192.0.2.0/24");
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    network.map_err(|_| unknown())
}

/// As a file has them.
pub(super) fn written<T: Display>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

impl Display for Texts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&written(&self.0))
    }
}

impl Display for Patterns {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&written(&self.0))
    }
}

impl Display for Networks {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&written(&self.0))
    }
}
