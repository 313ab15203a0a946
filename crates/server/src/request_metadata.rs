//! What a client says of its tool and its build, in a header (Remote Execution API, `RequestMetadata`).

use data_encoding::BASE64_NOPAD;
use http::HeaderMap;
use millpond_proto::reapi::RequestMetadata;
use prost::Message as _;

/// The header, base64 of a message.
pub(crate) const HEADER: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";
/// The longest that is looked at, in bytes of the header.
const HEADER_BYTES_MAX: usize = 4096;

/// What these headers say, if they do. What is no such message, and one that is too long, says nothing.
pub(crate) fn of(headers: &HeaderMap) -> Option<RequestMetadata> {
    let header = headers.get(HEADER)?.as_bytes();
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    // Padding is left to the sender (gRPC over HTTP/2, Custom-Metadata).
    let unpadded = header.strip_suffix(b"==").or_else(|| header.strip_suffix(b"=")).unwrap_or(header);
    RequestMetadata::decode(&*BASE64_NOPAD.decode(unpadded).ok()?).ok()
}
