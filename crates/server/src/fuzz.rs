//! What reads bytes of strangers, for the targets in `fuzz/` and the tests: compiled for them alone.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::identity::{authorization, forwarded};
use crate::listener::proxy::Proxies;
use crate::resource_name::{parse_read, parse_write};

/// Resource names of ByteStream: what is taken is a digest, and the instance is a part of what was sent.
pub fn resource_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for name in [parse_read(text), parse_write(text)].into_iter().flatten() {
        assert!(name.digest.size_i64() >= 0 && text.starts_with(name.instance));
    }
}

/// Headers that say who is calling.
pub fn headers(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let header = HeaderName::from_static("client-cert");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value.clone()), (header.clone(), value)]);
    if let Ok(Some(token)) = authorization::token(&headers) {
        assert!(!token.is_empty());
    }
    let _ = forwarded::chain(&headers, &header);
    let _ = forwarded::address(&headers, &header);
}

/// The PROXY protocol: what is taken off the stream is never more than there is.
pub fn proxy_protocol(data: &[u8]) {
    let proxies = Proxies { protocol: true, ..Proxies::default() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let mut stream = data;
    let _ = runtime.block_on(proxies.client(
        &mut stream,
        ([192, 0, 2, 1], 1).into(),
        std::time::Duration::from_secs(10),
    ));
}

#[cfg(test)]
#[path = "../../../fuzz/inputs.rs"]
mod inputs;

#[cfg(test)]
mod tests {
    use super::inputs::try_many;
    use super::*;

    #[test]
    fn any_resource_name_is_a_digest_or_refused() {
        let hash = "0123456789abcdef".repeat(4);
        let names = [
            format!("blobs/{hash}/42"),
            format!("main/blobs/{hash}/0"),
            format!("uploads/2b1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{hash}/42"),
            format!("a/b/uploads/x/compressed-blobs/zstd/{hash}/9223372036854775807/more"),
            format!("compressed-blobs/zstd/sha256/{hash}/-1"),
        ];
        try_many(&names.each_ref().map(String::as_bytes), resource_names);
    }

    #[test]
    fn any_header_is_a_credential_or_refused() {
        try_many(
            &[
                b"Bearer mp_01234567_secret",
                b"Basic dXNlcjptcF8xOjI=",
                b":c29tZSBERVI=:",
                b"-----BEGIN%20CERTIFICATE-----%0Ac29tZSBERVI%3D%0A-----END%20CERTIFICATE-----%0A",
                b"198.51.100.1, [2001:db8::9]:4711",
                b"",
            ],
            headers,
        );
    }

    #[test]
    fn any_first_bytes_of_a_proxy_are_taken_or_refused() {
        try_many(
            &[
                b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 11001\r\nPRI * HTTP/2.0",
                b"PROXY UNKNOWN\r\n",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x12\x67\x2a\xf9PRI",
                b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x21\xff\xff",
            ],
            proxy_protocol,
        );
    }
}
