//! Where the server is.

use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Uri};

/// A server's address, as in `http://127.0.0.1:11001`.
#[derive(Clone, Debug)]
pub struct Target {
    authority: Authority,
}

impl Target {
    /// Host and port, for the header of each call.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Host and port, to connect to.
    pub(crate) fn address(&self) -> (&str, u16) {
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        (host, self.authority.port_u16().unwrap_or(80))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.authority)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("\"{text}\" is no URL: {error}"))?;
        if uri.scheme_str() == Some("https") || uri.scheme_str() == Some("grpcs") {
            return Err("there is no TLS in this client yet: name a port without".to_owned());
        }
        let plain = matches!(uri.scheme_str(), Some("http" | "grpc"));
        let rest = uri.path_and_query().map_or("", |path| path.as_str());
        match uri.authority() {
            Some(authority) if plain && matches!(rest, "" | "/") => Ok(Self { authority: authority.clone() }),
            _ => Err(format!("\"{text}\" is no server: write http://HOST:PORT")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_name_host_and_port() {
        for (url, host, port) in [
            ("http://127.0.0.1:11001", "127.0.0.1", 11001),
            ("grpc://cache.example:8980/", "cache.example", 8980),
            ("http://[::1]:11001", "::1", 11001),
            ("http://cache.example", "cache.example", 80),
        ] {
            assert_eq!(url.parse::<Target>().unwrap().address(), (host, port), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        for (url, reason) in [
            ("https://cache.example:11001", "TLS"),
            ("cache.example:11001", "http://HOST:PORT"),
            ("http://cache.example:11001/main", "http://HOST:PORT"),
            ("unix:/run/casd.sock", "no URL"),
            ("", "no URL"),
        ] {
            let complaint = url.parse::<Target>().unwrap_err();
            assert!(complaint.contains(reason), "{url}: {complaint}");
        }
    }
}
