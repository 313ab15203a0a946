//! The headers in which a proxy says for whom it asks.
//!
//! The certificate that its client showed comes in any of the forms that proxies know: PEM with percent signs (nginx's
//! `$ssl_client_escaped_cert`), DER in base64 (HAProxy's `ssl_c_der,base64`), or the same between colons (RFC 9440). One
//! certificate, and no chain: where headers are joined, the first of several could be one that the client has put there.
//!
//! Of addresses the last one counts, for the same reason: that is the one which the proxy itself has seen.

use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const MALFORMED: &str = "the proxy in front of this cache hands on something that is no certificate: ask its operator to look at it";

/// Which headers these are; none of those who are no proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded {
    /// With the client's certificate.
    pub(crate) certificate: Option<HeaderName>,
    /// With its address.
    pub(crate) address: Option<HeaderName>,
}

/// The client's address, with a port or without; nothing where there is none. It gives nobody a right, so that what is no
/// address refuses nothing.
pub(crate) fn address(headers: &HeaderMap, header: &HeaderName) -> Option<IpAddr> {
    let last = headers.get_all(header).iter().next_back()?.to_str().ok()?;
    let text = last.rsplit(',').next()?.trim();
    let with_port = |text: &str| text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(|| with_port(text))
}

/// The client's certificate in DER; nothing if the client showed none.
///
/// # Errors
/// Something else than a certificate, with a sentence for the client.
pub(crate) fn chain(headers: &HeaderMap, header: &HeaderName) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    // A client may have sent one itself, which the proxy was to take out.
    if values.next().is_some() {
        return Err(MALFORMED);
    }
    let text = value.to_str().map_err(|_| MALFORMED)?.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let text = percent_decode(text.as_bytes()).decode_utf8().map_err(|_| MALFORMED)?;
    let chain: Option<Vec<_>> = if text.starts_with("-----BEGIN") {
        let found = CertificateDer::pem_slice_iter(text.as_bytes());
        found.take(2).map(|found| Some(found.ok()?.to_vec())).collect()
    } else {
        BASE64.decode(text.trim_matches(':').as_bytes()).ok().map(|der| vec![der])
    };
    chain.filter(|chain| matches!(chain.as_slice(), [der] if !der.is_empty())).ok_or(MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("client-cert");

    fn found(values: &[&str]) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        chain(&headers, &HEADER)
    }

    #[test]
    fn every_form_of_proxies_is_read() {
        let one = vec![b"some DER".to_vec()];
        let pem = "-----BEGIN%20CERTIFICATE-----%0Ac29tZSBERVI%3D%0A-----END%20CERTIFICATE-----%0A";
        for text in ["c29tZSBERVI=", ":c29tZSBERVI=:", pem] {
            assert_eq!(found(&[text]).as_ref(), Ok(&one), "{text}");
        }
        assert_eq!(found(&[]), Ok(vec![]));
        assert_eq!(found(&[""]), Ok(vec![]));
    }

    #[test]
    fn address_is_the_one_that_the_proxy_has_seen() {
        let found = |values: &[&str]| {
            let header = HeaderName::from_static("x-forwarded-for");
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&header, value.parse().unwrap());
            }
            address(&headers, &header).map(|address| address.to_string())
        };
        for (values, address) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1", "2001:db8::9"], "2001:db8::9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::9]:4711"], "2001:db8::9"),
        ] {
            assert_eq!(found(values).as_deref(), Some(address), "{values:?}");
        }
        for values in [&[][..], &[""], &["nobody"], &["203.0.113.9, unknown"], &["203.0.113.9", ","]] {
            assert_eq!(found(values), None, "{values:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused_and_not_taken_for_nobody() {
        for values in [
            &["?"][..],
            &["c29tZSBERVI"],
            &[","],
            &["::"],
            &["-----BEGIN CERTIFICATE-----"],
            &["-----BEGIN%20CERTIFICATE-----%0A?%0A-----END%20CERTIFICATE-----%0A"],
            &["c29tZSBERVI=", "c29tZSBERVI="],
            &["c29tZSBERVI=,c29tZSBERVI="],
            &["c29tZSBERVI=, c29tZSBERVI="],
        ] {
            assert_eq!(found(values), Err(MALFORMED), "{values:?}");
        }
    }
}
