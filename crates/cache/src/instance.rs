//! Instance names: namespaces for names. Blobs are stored once, whatever instance they came by.
//!
//! **Invariant:** an [`InstanceName`] is one that this cache is configured with. The empty one always exists. Only what
//! is pushed to an instance that keeps names and blobs is checked for being whole.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Result};

/// What an instance keeps. A client may have its names and its blobs on two servers; then neither sees what it would
/// take to promise that a name is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InstanceKind {
    /// Names and blobs: a name that is served is whole.
    #[default]
    All,
    /// Names whose blobs lie on another server: they are served as they were pushed.
    IndexOnly,
    /// Blobs that are named on another server: they can only be let go by their last use.
    StorageOnly,
}

/// An instance as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Its name; the empty one need not be given.
    pub name: String,
    /// What it keeps.
    pub kind: InstanceKind,
}

/// The name of an instance that exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstanceName {
    name: Arc<str>,
    kind: InstanceKind,
}

impl InstanceName {
    /// The name as the wire has it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What the instance keeps.
    pub fn kind(&self) -> InstanceKind {
        self.kind
    }

    /// Whether an instance may have that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] says which and why not.
    pub fn check(name: &str) -> Result<()> {
        match malformed(name) {
            Some(reason) => Err(Error::Invalid(format!("instance name {name:?}: {reason}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Refuses a name pushed to an instance that has none.
    pub(crate) fn takes_names(&self) -> Result<()> {
        match self.kind {
            InstanceKind::StorageOnly => Err(Error::Denied(
                "this instance keeps blobs only: push names to the server that is the index to it".into(),
            )),
            InstanceKind::All | InstanceKind::IndexOnly => Ok(()),
        }
    }

    /// Refuses a blob uploaded to an instance that has none.
    pub(crate) fn takes_blobs(&self) -> Result<()> {
        match self.kind {
            InstanceKind::IndexOnly => Err(Error::Denied(
                "this instance keeps names only: upload blobs to the server that is the storage to it".into(),
            )),
            InstanceKind::All | InstanceKind::StorageOnly => Ok(()),
        }
    }
}

impl fmt::Debug for InstanceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &*self.name)
    }
}

/// The instances that exist.
#[derive(Debug)]
pub(crate) struct Instances(Vec<InstanceName>);

/// Segments that have a meaning of their own in resource names (REAPI, `GetCapabilitiesRequest.instance_name`).
const RESERVED: [&str; 8] = [
    "blobs",
    "uploads",
    "actions",
    "actionResults",
    "operations",
    "capabilities",
    "compressed-blobs",
    "assets",
];

impl Instances {
    /// The empty instance and those of `options`, which may say of the empty one what it keeps. A malformed name, or one
    /// given twice, is said which and why.
    pub(crate) fn new(options: &[InstanceOptions]) -> Result<Self> {
        let mut instances: Vec<InstanceName> = Vec::with_capacity(options.len() + 1);
        for InstanceOptions { name, kind } in options {
            if !name.is_empty() {
                InstanceName::check(name)?;
            }
            if instances.iter().any(|known| known.as_str() == name) {
                return Err(Error::Invalid(format!("instance name {name:?}: given twice")));
            }
            instances.push(InstanceName { name: name.as_str().into(), kind: *kind });
        }
        if !instances.iter().any(|instance| instance.as_str().is_empty()) {
            instances.push(InstanceName { name: "".into(), kind: InstanceKind::All });
        }
        Ok(Self(instances))
    }

    /// What the instance of that name keeps. One that is not configured any more: what most keep.
    pub(crate) fn kind(&self, name: &str) -> InstanceKind {
        self.0
            .iter()
            .find(|instance| instance.as_str() == name)
            .map_or_else(InstanceKind::default, InstanceName::kind)
    }

    /// Whether one of them keeps blobs that are named elsewhere.
    pub(crate) fn keep_unnamed(&self) -> bool {
        self.0.iter().any(|instance| instance.kind == InstanceKind::StorageOnly)
    }

    /// The instance of that name.
    pub(crate) fn find(&self, name: &str) -> Result<InstanceName> {
        let found = self.0.iter().find(|instance| instance.as_str() == name);
        found.cloned().ok_or_else(|| {
            let shown: String = name.chars().take(100).collect();
            Error::Invalid(format!("there is no instance {shown:?} here: use the empty instance name, or one that this cache is configured with"))
        })
    }
}

fn malformed(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty, and the empty instance always exists".into());
    }
    if name.len() > 200 {
        return Some("longer than 200 bytes".into());
    }
    if let Some(odd) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_./".contains(*c))) {
        return Some(format!("{odd:?} is not a letter, digit, '-', '_', '.' or '/'"));
    }
    name.split('/').find_map(|segment| match segment {
        "" | "." | ".." => Some("an empty, '.' or '..' segment".into()),
        _ if RESERVED.contains(&segment) => {
            Some(format!("{segment:?} has a meaning of its own in resource names"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> InstanceOptions {
        InstanceOptions { name: name.into(), ..InstanceOptions::default() }
    }

    #[test]
    fn empty_instance_may_be_declared_and_nothing_twice() {
        let index = InstanceOptions { name: String::new(), kind: InstanceKind::IndexOnly };
        let instances = Instances::new(&[named("main"), index]).unwrap();
        assert_eq!(instances.kind(""), InstanceKind::IndexOnly);
        assert_eq!(instances.kind("main"), InstanceKind::All);
        assert!(Instances::new(&[named("main"), named("main")]).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn empty_instance_always_exists_and_unknown_ones_are_invalid() {
        let instances = Instances::new(&[named("main"), named("team/a")]).unwrap();
        assert_eq!(instances.find("").unwrap().as_str(), "");
        assert_eq!(instances.find("team/a").unwrap().as_str(), "team/a");
        assert!(matches!(instances.find("../x"), Err(Error::Invalid(_))));
    }

    #[test]
    fn malformed_instance_names_are_refused() {
        for bad in ["a//b", "blobs", "x/uploads", "..", "a b", "ü"] {
            assert!(Instances::new(&[named(bad)]).is_err(), "{bad}");
        }
    }
}
