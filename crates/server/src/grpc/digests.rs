//! Digests between wire and domain.

use millpond_cache::{Digest, Error, Result};
use millpond_proto::reapi::digest_function::Value;
use millpond_proto::{HashText, reapi};

/// A digest that the request must have.
pub(super) fn required(digest: Option<&reapi::Digest>, what: &str) -> Result<Digest> {
    let digest = digest.ok_or_else(|| Error::Invalid(format!("the request has no {what}")))?;
    parse(digest)
}

/// A digest as it came in.
pub(super) fn parse(digest: &reapi::Digest) -> Result<Digest> {
    Digest::parse(&digest.hash, digest.size_bytes)
        .map_err(|error| Error::Invalid(format!("a digest in the request is malformed: {error}")))
}

/// Digests of which some may be empty: BuildStream 2.0 to 2.6 sends an empty digest for each tree that it has not.
pub(super) fn references(digests: &[reapi::Digest]) -> Result<Vec<Digest>> {
    digests.iter().filter(|digest| !digest.hash.is_empty()).map(parse).collect()
}

/// As it goes out.
pub(crate) fn to_wire(digest: &Digest) -> reapi::Digest {
    reapi::Digest { hash: HashText::from_digits(digest.hash_digits()), size_bytes: digest.size_i64() }
}

/// Refuses digest functions that are not served. Most clients leave it to the server, which is `UNKNOWN`.
pub(super) fn function(number: i32) -> Result<()> {
    match Value::try_from(number) {
        Ok(Value::Unknown | Value::Sha256) => Ok(()),
        Ok(other) => Err(Error::Invalid(format!("{} is not served here; use SHA256", other.as_str_name()))),
        Err(_) => Err(Error::Invalid(format!("digest function {number} is not served here; use SHA256"))),
    }
}
