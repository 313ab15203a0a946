//! Blobs and their digests.

use bytes::Bytes;
use millpond_proto::reapi::Digest;
use prost::Message;
use sha2::{Digest as _, Sha256};

/// Bytes and what they are named by.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) content: Bytes,
}

impl Blob {
    pub(crate) fn new(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let digest = digest(Sha256::new_with_prefix(&content), content.len());
        Self { digest, content }
    }

    /// A message as a blob.
    pub(crate) fn of(message: &impl Message) -> Self {
        Self::new(message.encode_to_vec())
    }
}

/// The digest of the `size` bytes that went through `hash`.
pub(crate) fn digest(hash: Sha256, size: usize) -> Digest {
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest { hash: hash.into(), size_bytes: i64::try_from(size).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha_256_and_size() {
        let Digest { hash, size_bytes } = Blob::new("abc").digest;
        assert_eq!(&*hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(size_bytes, 3);
    }
}
