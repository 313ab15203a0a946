//! Where the server is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

/// A server's address, as in `http://127.0.0.1:11001` or `grpcs://cache.example.org:11002`.
#[derive(Clone, Debug)]
pub struct Target {
    authority: Authority,
    tls: bool,
}

impl Target {
    /// Host and port, for the header of each call.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What HTTP/2 is told of it.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Whether it is spoken to through TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Whether what is sent to it stays on this machine.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The host to connect to, which is also the one that the server's certificate must name.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// Host and port, to connect to.
    pub(crate) fn address(&self) -> (&str, u16) {
        (self.host(), self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 }))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme(), self.authority)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("\"{text}\" is no URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("http" | "grpc") => Some(false),
            Some("https" | "grpcs") => Some(true),
            _ => None,
        };
        let rest = uri.path_and_query().map_or("", |path| path.as_str());
        match (uri.authority(), tls) {
            (Some(authority), Some(tls)) if matches!(rest, "" | "/") => {
                Ok(Self { authority: authority.clone(), tls })
            }
            _ => {
                Err(format!("\"{text}\" is no server: write http://HOST:PORT, or grpcs://HOST:PORT for TLS"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_name_host_and_port() {
        for (url, host, port, tls) in [
            ("http://127.0.0.1:11001", "127.0.0.1", 11001, false),
            ("grpc://cache.example:8980/", "cache.example", 8980, false),
            ("http://[::1]:11001", "::1", 11001, false),
            ("http://cache.example", "cache.example", 80, false),
            ("grpcs://cache.example:11002", "cache.example", 11002, true),
            ("https://[::1]", "::1", 443, true),
        ] {
            let target: Target = url.parse().unwrap();
            assert_eq!((target.address(), target.tls()), ((host, port), tls), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        for (url, reason) in [
            ("cache.example:11001", "http://HOST:PORT"),
            ("ftp://cache.example:11001", "http://HOST:PORT"),
            ("http://cache.example:11001/main", "http://HOST:PORT"),
            ("unix:/run/casd.sock", "no URL"),
            ("", "no URL"),
        ] {
            let complaint = url.parse::<Target>().unwrap_err();
            assert!(complaint.contains(reason), "{url}: {complaint}");
        }
    }
}
