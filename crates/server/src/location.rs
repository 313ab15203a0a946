//! URLs that something may be asked at: the keys of an issuer, or a certificate.
//!
//! **Invariant:** what is fetched without TLS comes from this machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// A URL of `https`, or of `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(crate) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// With the query, if there is one.
    pub(crate) path: String,
    /// Host and port as they were written.
    pub(crate) authority: String,
}

impl Location {
    /// The URL with this path behind it.
    pub(crate) fn below(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| format!("\"{}\" is no URL to ask: {reason}", text.escape_debug());
        let uri: Uri = text.parse().map_err(|_| refused("write it as in https://gitlab.example.org"))?;
        let authority = uri.authority().ok_or_else(|| refused("write https:// and a host name"))?;
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(refused("there may be no user and no # in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_here(&host) => false,
            Some("http") => {
                return Err(refused("it must begin with https://, since it is on another machine"));
            }
            _ => return Err(refused("it must begin with https://")),
        };
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authority: authority.to_string(),
        })
    }
}

/// A name could be made to lead elsewhere.
fn is_here(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

impl fmt::Display for Location {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "http{}://{}{}", if self.tls { "s" } else { "" }, self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for url in [
            "https://gitlab.com",
            "http://127.0.0.1:8080/a?b=c",
            "http://[::1]/",
            "https://[2001:db8::1]:8443/x",
        ] {
            let location: Location = url.parse().unwrap();
            assert_eq!(location.to_string().trim_end_matches('/'), url.trim_end_matches('/'));
        }
        for url in [
            "",
            "gitlab.com",
            "/keys",
            "http://gitlab.com",
            "http://localhost",
            "http://127.0.0.1.example.org",
            "ftp://gitlab.com",
            "file:///etc/passwd",
            "https://user@gitlab.com",
            "https://gitlab.com/#keys",
            "http://127.0.0.1@gitlab.com",
        ] {
            assert!(url.parse::<Location>().is_err(), "{url}");
        }
    }

    #[test]
    fn own_words_of_an_issuer_lie_below_its_url() {
        for (url, below) in
            [("https://a", "https://a/x"), ("https://a/", "https://a/x"), ("https://a/b/", "https://a/b/x")]
        {
            assert_eq!(url.parse::<Location>().unwrap().below("/x").to_string(), below);
        }
    }
}
