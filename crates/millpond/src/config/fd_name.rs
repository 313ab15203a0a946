//! What a service manager calls a socket that it passes: `FileDescriptorName=` of a socket unit of systemd.

use std::fmt;

use serde::Deserialize;

/// The longest name that systemd takes, in bytes.
const LENGTH_MAX: usize = 255;

/// The name of a listener's sockets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct FdName(String);

impl FdName {
    /// The name of the socket that metrics are served on.
    pub(crate) const METRICS: &str = "metrics";
    /// The name of the socket that the server is administered through.
    pub(crate) const ADMIN: &str = "admin";

    /// The name itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FdName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        // As systemd has it: names are passed with colons between them.
        let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
        if name.is_empty() || name.len() > LENGTH_MAX || !name.bytes().all(printable) {
            return Err(format!(
                "{name:?} is no name of a socket: write letters, digits and signs of ASCII but the colon, up to {LENGTH_MAX}"
            ));
        }
        if [Self::METRICS, Self::ADMIN].contains(&name.as_str()) {
            return Err(format!("sockets named \"{name}\" are not for clients: write another name"));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for FdName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_systemd_and_not_those_of_other_sockets() {
        for good in ["pull", "millpond.socket", "a b", &"n".repeat(LENGTH_MAX)] {
            assert_eq!(FdName::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["", "a:b", "ü", "a\nb", "metrics", "admin", &"n".repeat(LENGTH_MAX + 1)] {
            FdName::try_from(bad.to_owned()).unwrap_err();
        }
    }
}
