//! What the command line of `serve` may say; the meaning of each flag stands in the reference.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use serde::Deserialize;

use super::compression::Compression;
use super::instance;
use super::limit::Limit;
use super::reference::help;
use super::socket::Socket;
use crate::size::Size;
use crate::span::Span;

/// The flags of `serve`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Read settings from this TOML file; flags win over what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The data directory.
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from), help = help("--data"))]
    pub(crate) data: Option<PathBuf>,

    /// Where clients are served.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address, help = help("--listen"))]
    pub(crate) listen: Vec<SocketAddr>,

    /// The directory of keys, identities and tokens.
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from), help = help("--keys"))]
    pub(crate) keys: Option<PathBuf>,

    /// All listeners speak TLS.
    #[arg(long, help = help("--tls"))]
    pub(crate) tls: bool,

    /// How much is held, everything counted.
    #[arg(long, value_name = "SIZE", help = help("--max-size"))]
    pub(crate) max_size: Option<Limit>,

    /// How long what a client was told is there stays.
    #[arg(long, value_name = "TIME", help = help("--lease"))]
    pub(crate) lease: Option<Span>,

    /// Pulls alone.
    #[arg(long, help = help("--read-only"))]
    pub(crate) read_only: bool,

    /// When blobs are compressed.
    #[arg(long, value_name = "WHEN", help = help("--compression"))]
    pub(crate) compression: Option<Compression>,
    /// How long ago what is cold was written.
    #[arg(long, value_name = "TIME", help = help("--compress-after"))]
    pub(crate) compress_after: Option<Span>,

    /// A volume of an older format is refused.
    #[arg(long, help = help("--no-upgrade"))]
    pub(crate) no_upgrade: bool,

    /// How much of requests is held in memory.
    #[arg(long, value_name = "SIZE", help = help("--request-memory"))]
    pub(crate) request_memory: Option<Size>,

    /// Instances beside the empty one.
    #[arg(long, value_name = "NAME[:KEEPS]", help = help("--instance"))]
    pub(crate) instance: Vec<instance::Flag>,

    /// Others may reach listeners and metrics.
    #[arg(long, help = help("--insecure"))]
    pub(crate) insecure: bool,

    /// Where metrics are served.
    #[arg(long, value_name = "ADDR:PORT", help = help("--metrics"))]
    pub(crate) metrics: Option<Metrics>,

    /// Where the server is administered.
    #[arg(long, value_name = "PATH", help = help("--admin-socket"))]
    pub(crate) admin_socket: Option<Socket>,
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
