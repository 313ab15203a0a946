//! An instance as flags and files name it: a name, and what is kept under it.

use std::str::FromStr;

use millpond_cache::{InstanceKind, InstanceOptions};
use serde::Deserialize;

use super::Given;

/// An instance that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    /// What clients send; the empty one is served in any case.
    pub(crate) name: Given<String>,
    /// What it keeps.
    pub(crate) keeps: Given<Keeps>,
}

impl Instance {
    /// As the cache takes it.
    pub(crate) fn options(&self) -> InstanceOptions {
        InstanceOptions { name: self.name.value.clone(), kind: self.keeps.value.0 }
    }
}

/// What an instance keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Keeps(pub(crate) InstanceKind);

const WORDS: [(&str, InstanceKind); 3] = [
    ("all", InstanceKind::All),
    ("index-only", InstanceKind::IndexOnly),
    ("storage-only", InstanceKind::StorageOnly),
];

impl Keeps {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        WORDS.into_iter().find(|(_, kind)| *kind == self.0).map_or("all", |(word, _)| word)
    }
}

impl FromStr for Keeps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = WORDS.into_iter().find(|(word, _)| *word == text);
        known.map(|(_, kind)| Self(kind)).ok_or_else(|| {
            format!("\"{text}\" is nothing that an instance keeps: write all, index-only or storage-only")
        })
    }
}

impl TryFrom<String> for Keeps {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for Keeps {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.word())
    }
}

/// `NAME`, or `NAME:KEEPS`, as flags and variables have it.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(name, keeps)| (name, Some(keeps)))
}

/// One given by a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(super) name: String,
    pub(super) keeps: Option<Keeps>,
}

impl FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, keeps) = split(text);
        Ok(Self { name: name.to_owned(), keeps: keeps.map(str::parse).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_behind_the_name() {
        let flag: Flag = ":storage-only".parse().unwrap();
        assert_eq!((flag.name.as_str(), flag.keeps.unwrap().word()), ("", "storage-only"));
        assert_eq!("main".parse(), Ok(Flag { name: "main".into(), keeps: None }));
        assert!("main:blobs".parse::<Flag>().unwrap_err().ends_with("all, index-only or storage-only"));
    }
}
