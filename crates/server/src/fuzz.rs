//! What reads bytes of strangers, for the targets in `fuzz/`: compiled for them alone.

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
}

/// The PROXY protocol: what is taken off the stream is never more than there is.
pub fn proxy_protocol(data: &[u8]) {
    let proxies = Proxies { protocol: true, ..Proxies::default() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let mut stream = data;
    let _ = runtime.block_on(proxies.client(&mut stream, ([192, 0, 2, 1], 1).into()));
}
