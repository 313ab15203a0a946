//! The proxies in front of a listener, and what they say of the clients behind them: the PROXY protocol (versions 1 and 2,
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), and headers with the
//! client's certificate and address.
//!
//! **Invariant:** nobody else is believed. From an address that is no proxy's, the first byte is the client's own, and these
//! headers are some that nobody reads.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use millpond_cache::Limit;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::identity::forwarded::Forwarded;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, of which the specification says that it fits.
const VERSION_1_BYTES_MAX: usize = 107;
/// The longest that is read of version 2: addresses, and fields that proxies add.
const VERSION_2_BYTES_MAX: u16 = 4096;

/// The proxies in front of a listener.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// Each of their connections begins with a header of the PROXY protocol.
    pub protocol: bool,
    /// The header of each call in which they hand on the certificate of its client.
    pub certificate_header: Option<HeaderName>,
    /// The same with its address.
    pub address_header: Option<HeaderName>,
}

impl Proxies {
    /// Whether it is one of them that connects from there.
    pub(crate) fn are(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// The headers in which they say for whom they ask.
    pub(crate) fn forwarded(&self) -> Forwarded {
        Forwarded { certificate: self.certificate_header.clone(), address: self.address_header.clone() }
    }

    /// For whom a proxy has connected: takes the header off the stream, and nothing behind it. A proxy that asks on its own
    /// account is itself the client. The header may take so long.
    pub(crate) async fn client(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        proxy: SocketAddr,
        time: Duration,
    ) -> Result<SocketAddr, String> {
        if !self.protocol {
            return Ok(proxy);
        }
        let header = timeout(time, read(stream)).await;
        let header = header.map_err(|_| {
            Limit::Handshake.met();
            format!("it took longer than {} s", time.as_secs())
        })??;
        let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
        let (header, _) = ProxyHeader::parse(&header, config).map_err(|error| error.to_string())?;
        Ok(header.proxied_address().map_or(proxy, |address| address.source))
    }
}

/// A whole header, byte for byte where its length is not known before.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await.map_err(broken)?;
    if header == SIGNATURE {
        // Version, family, and the length of what follows.
        let kind = stream.read_u16().await.map_err(broken)?;
        let length = stream.read_u16().await.map_err(broken)?;
        if length > VERSION_2_BYTES_MAX {
            return Err(format!("{length} bytes are too many"));
        }
        header.extend_from_slice(&kind.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        let begin = header.len();
        header.resize(begin + usize::from(length), 0);
        stream.read_exact(header.get_mut(begin..).unwrap_or_default()).await.map_err(broken)?;
        return Ok(header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err("it begins otherwise".into());
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= VERSION_1_BYTES_MAX {
            return Err("the line does not end".into());
        }
        header.push(stream.read_u8().await.map_err(broken)?);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "192.0.2.1:4711";

    fn proxies(protocol: bool) -> Proxies {
        let networks = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::1/128".parse().unwrap()];
        Proxies { networks, protocol, ..Proxies::default() }
    }

    /// Whom they say, and what is left for the client to have sent.
    async fn said(mut stream: &[u8]) -> (Result<SocketAddr, String>, Vec<u8>) {
        let client = proxies(true).client(&mut stream, PROXY.parse().unwrap(), Duration::from_secs(10)).await;
        (client, stream.to_vec())
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, addresses, b"hello"].concat()
    }

    #[test]
    fn proxies_are_known_by_their_network() {
        let proxies = proxies(true);
        for (ip, known) in [
            ("192.0.2.77", true),
            ("::ffff:192.0.2.77", true),
            ("192.0.3.1", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
        ] {
            assert_eq!(proxies.are(ip.parse().unwrap()), known, "{ip}");
        }
        assert!(!Proxies::default().are("127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn both_versions_say_who_connects_and_leave_the_rest() {
        let rest = b"hello".to_vec();
        let client = |text: &str| (Ok(text.parse().unwrap()), rest.clone());
        assert_eq!(
            said(b"PROXY TCP4 203.0.113.9 192.0.2.2 56324 443\r\nhello").await,
            client("203.0.113.9:56324")
        );
        assert_eq!(
            said(b"PROXY TCP6 2001:db8::9 ::1 56324 443\r\nhello").await,
            client("[2001:db8::9]:56324")
        );
        assert_eq!(said(b"PROXY UNKNOWN\r\nhello").await, client(PROXY));
        let ipv4 = [203, 0, 113, 9, 192, 0, 2, 2, 0xdc, 0x04, 1, 0xbb];
        assert_eq!(said(&version_2(1, 0x11, &ipv4)).await, client("203.0.113.9:56324"));
        // With a field behind the addresses; and a proxy that looks whether we are there.
        assert_eq!(
            said(&version_2(1, 0x11, &[&ipv4[..], &[4, 0, 1, 0]].concat())).await,
            client("203.0.113.9:56324")
        );
        assert_eq!(said(&version_2(0, 0, &[])).await, client(PROXY));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat();
        let huge = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        for stream in [
            &b""[..],
            b"PROXY",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PROXY TCP4 nobody 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.2 56324 443",
            &long,
            &huge,
            &version_2(7, 0x11, &[0; 12]),
            &version_2(1, 0x11, &[0; 3]),
        ] {
            assert!(said(stream).await.0.is_err(), "{stream:?}");
        }
    }
}
