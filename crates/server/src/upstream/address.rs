//! Where another server is: `http://HOST:PORT`, or `grpcs://HOST:PORT` for TLS.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// A server's address.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) authority: Authority,
    pub(crate) tls: bool,
}

impl Address {
    /// The host to connect to, which is also the one that the server's certificate must name.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// Whether what is sent to it can be read by nobody on the way.
    pub(crate) fn keeps_secrets(&self) -> bool {
        self.tls || self.host().parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "http{}://{}", if self.tls { "s" } else { "" }, self.authority)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "\"{}\" is no server: write http://HOST:PORT, or grpcs://HOST:PORT for TLS",
                text.escape_debug()
            )
        };
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let tls = match uri.scheme_str() {
            Some("http" | "grpc") => false,
            Some("https" | "grpcs") => true,
            _ => return Err(refused()),
        };
        let rest = uri.path_and_query().map_or("", |path| path.as_str());
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        match authority {
            Some(authority) if matches!(rest, "" | "/") => Ok(Self { authority: authority.clone(), tls }),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_host_and_port() {
        for (url, host, port, tls, keeps_secrets) in [
            ("http://127.0.0.1:11001", "127.0.0.1", 11001, false, true),
            ("grpc://cache.example:8980/", "cache.example", 8980, false, false),
            ("http://[::1]", "::1", 80, false, true),
            ("http://localhost:1", "localhost", 1, false, false),
            ("grpcs://cache.example", "cache.example", 443, true, true),
        ] {
            let address: Address = url.parse().unwrap();
            let found = (address.host(), address.port(), address.tls, address.keeps_secrets());
            assert_eq!(found, (host, port, tls, keeps_secrets), "{url}");
        }
        for url in
            ["", "cache.example:11001", "ftp://a:1", "http://a:1/main", "http://user@a:1", "unix:/run/a"]
        {
            assert!(url.parse::<Address>().unwrap_err().contains("http://HOST:PORT"), "{url}");
        }
    }
}
