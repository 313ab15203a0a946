//! Instance names: namespaces for names. Blobs are stored once, whatever instance they came by.
//!
//! **Invariant:** an [`InstanceName`] is one that this cache is configured with. The empty one always exists.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Result};

/// The name of an instance that exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstanceName(Arc<str>);

impl InstanceName {
    /// The name as the wire has it.
    pub fn as_str(&self) -> &str {
        &self.0
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
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for InstanceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &*self.0)
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
    /// The empty instance and those of `names`; a malformed name is said which and why.
    pub(crate) fn new(names: &[String]) -> Result<Self> {
        let mut instances = vec![InstanceName("".into())];
        for name in names.iter().filter(|name| !name.is_empty()) {
            InstanceName::check(name)?;
            instances.push(InstanceName(name.as_str().into()));
        }
        Ok(Self(instances))
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

    #[test]
    fn empty_instance_always_exists_and_unknown_ones_are_invalid() {
        let instances = Instances::new(&["main".into(), "team/a".into()]).unwrap();
        assert_eq!(instances.find("").unwrap().as_str(), "");
        assert_eq!(instances.find("team/a").unwrap().as_str(), "team/a");
        assert!(matches!(instances.find("../x"), Err(Error::Invalid(_))));
    }

    #[test]
    fn malformed_instance_names_are_refused() {
        for bad in ["a//b", "blobs", "x/uploads", "..", "a b", "ü"] {
            assert!(Instances::new(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
