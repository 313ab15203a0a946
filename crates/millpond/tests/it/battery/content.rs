//! Blobs of a project: most of them small, some of them large, many of them shared between its artifacts.

use bytes::Bytes;
use millpond_proto::reapi::batch_update_blobs_request::Request;
use millpond_proto::reapi::{BatchUpdateBlobsRequest, Digest};
use sha2::{Digest as _, Sha256};

use super::random::Random;

/// Files that many artifacts of a project have in common.
const SHARED_FILES: u64 = 300;

/// A blob and its digest.
#[derive(Clone)]
pub(crate) struct Blob {
    pub digest: Digest,
    pub content: Bytes,
}

impl Blob {
    pub(crate) fn new(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { digest: digest_of(&content), content }
    }

    /// The call that uploads it.
    pub(crate) fn update(&self) -> BatchUpdateBlobsRequest {
        let Self { digest, content } = self.clone();
        let request = Request { digest: Some(digest), data: content, ..Default::default() };
        BatchUpdateBlobsRequest { requests: vec![request], ..Default::default() }
    }
}

/// The digest of a blob, by another implementation's way than the server's own.
pub(crate) fn digest_of(content: &[u8]) -> Digest {
    let hash = Sha256::digest(content);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Digest { hash: hash.into(), size_bytes: content.len() as i64 }
}

/// A file: three in five times one that other artifacts have too.
pub(crate) fn file(random: &mut Random, project: u64) -> Blob {
    let shared = random.below(5) < 3;
    let number = if shared { random.below(SHARED_FILES) } else { random.next() };
    let mut random = Random::new(project ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let length = match random.below(100) {
        0..3 => 0,
        3..70 => random.between(1, 4 << 10),
        70..90 => random.between(4 << 10, 32 << 10),
        90..98 => random.between(32 << 10, 200 << 10),
        _ => random.between(200 << 10, 1500 << 10),
    };
    let mut content = random.bytes(length);
    // Half of what files hold could be left out.
    if random.one_in(2) {
        content.iter_mut().for_each(|byte| *byte &= 15);
    }
    Blob::new(content)
}

/// A text of a few lines, such as a log or an element's public data.
pub(crate) fn text(random: &mut Random, title: &str) -> Blob {
    let lines = random.between(1, 40);
    let text: String = (0..lines).map(|number| format!("{title} {number}: {:x}\n", random.next())).collect();
    Blob::new(text.into_bytes())
}
