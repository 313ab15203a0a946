//! Which names may be given to clients and to servers.

use std::net::IpAddr;

use rcgen::SanType;
use rcgen::string::Ia5String;

use crate::Error;

/// Characters of a client's name.
const LENGTH_MAX: usize = 64;

/// Refuses names of clients that cannot be the name of a folder, or that would be taken for something else.
pub(super) fn check_client(name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins_well || name.len() > LENGTH_MAX || !name.bytes().all(allowed) {
        return Err(Error::unwanted(
            format!("{name:?} is no name for a client"),
            format!("give letters, digits, - _ and ., a letter or digit first, at most {LENGTH_MAX}"),
        ));
    }
    if name == "server" || crate::token::is_id(name) {
        return Err(Error::unwanted(
            format!("{name} is no name for a client, since commands take it for something else"),
            "give another name",
        ));
    }
    Ok(())
}

/// A host name, a wildcard such as `*.example.org`, or an IP address.
pub(super) fn host(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !labels.split('.').all(good) {
        return Err(Error::unwanted(
            format!("{name:?} is neither a host name nor an IP address"),
            "give what clients write between https:// and the port, such as cache.example.org or 192.0.2.10",
        ));
    }
    Ok(SanType::DnsName(Ia5String::try_from(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_are_names_of_folders() {
        for name in ["ci", "a", "Build-7_x.example.org", &"x".repeat(64)] {
            assert!(check_client(name).is_ok(), "{name}");
        }
        for name in
            ["", ".", "..", ".a", "-a", "a/b", "a b", "ä", "a\n", "server", "0123abcd", &"x".repeat(65)]
        {
            assert!(check_client(name).is_err(), "{name}");
        }
    }

    #[test]
    fn hosts_are_what_clients_write_in_urls() {
        for name in ["localhost", "cache.example.org", "*.example.org", "192.0.2.10", "2001:db8::1"] {
            assert!(host(name).is_ok(), "{name}");
        }
        for name in ["", "*", "*.", "a..b", "https://a", "a:11002", "[::1]", "-a", "a-", "a b", "a.*.b", "ä"]
        {
            assert!(host(name).is_err(), "{name}");
        }
    }
}
