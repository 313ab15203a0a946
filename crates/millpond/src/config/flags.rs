//! What the command line of `serve` may say. Each setting's meaning stands here and on its field in the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use serde::Deserialize;

use crate::size::Size;
use crate::span::Span;

const LISTEN: &str = "Serve clients here; may be given several times. [::]:PORT serves IPv4 as well, port 0 takes a \
                      free one [default: 127.0.0.1:11001 and, where there is IPv6, [::1]:11001]";

/// The flags of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Read settings from this TOML file; flags win over what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Keep everything in this directory, which is made if it is not there [default: millpond-data]
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) data: Option<PathBuf>,

    /// Where clients are served. (The text is no doc comment, because rustdoc takes addresses for links.)
    #[arg(long, value_name = "ADDR:PORT", value_parser = address, help = LISTEN)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Hold at most this much, everything counted, as in 500GB or 64MiB [default: 90 % of the file system, whatever
    /// else lies on it]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Size>,

    /// Keep what a client was told is there for at least this long, as in 3h or 90m; with 0s it may be gone at once
    /// [default: 3h]
    #[arg(long, value_name = "TIME")]
    pub(crate) lease: Option<Span>,

    /// Hold about this much of requests in memory, all of them together [default: an eighth of the memory]
    #[arg(long, value_name = "SIZE")]
    pub(crate) request_memory: Option<Size>,

    /// Serve this instance name beside the empty one; may be given several times. Letters, digits and any of - _ . / make
    /// a name
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Vec<String>,

    /// Listen without TLS on addresses that others can reach: everybody there may pull and push
    #[arg(long)]
    pub(crate) insecure: bool,

    /// Serve metrics here, or nowhere with "off" [default: 127.0.0.1:9464, if that is free]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<Metrics>,
}

/// An IP address and a port, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Address(pub(crate) SocketAddr);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        address(&text).map(Self)
    }
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Metrics {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl FromStr for Metrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { address(text).map(Self::At) }
    }
}

impl TryFrom<String> for Metrics {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An IP address and a port. Host names are not looked up: what one stands for may differ from one start to the next.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!("\"{text}\" is no address and port: write 127.0.0.1:11001, [::1]:11001 or [::]:11001")
    })?;
    // No socket of IPv6 alone takes it, and ours are, except for [::].
    let ip = address.ip().to_canonical();
    if ip == address.ip() {
        return Ok(address);
    }
    Err(format!("\"{text}\" is an address of IPv4 written as one of IPv6: write {ip}:{}", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_parse_and_names_do_not() {
        assert!(address("127.0.0.1:11001").is_ok());
        assert!(address("[::]:0").is_ok());
        for bad in ["localhost:11001", ":11001", "11001", "127.0.0.1", "::1:11001", "127.0.0.1:70000"] {
            assert!(address(bad).unwrap_err().contains("[::1]:11001"), "{bad}");
        }
        assert!(address("[::ffff:127.0.0.1]:7").unwrap_err().ends_with("write 127.0.0.1:7"));
    }

    #[test]
    fn metrics_can_be_off() {
        assert_eq!("off".parse(), Ok(Metrics::Off));
        assert!("no".parse::<Metrics>().is_err());
    }
}
