//! Another server that runs, as far as taking over from it needs one: what its names point to, and the bytes of its blobs.
//!
//! How it is spoken to is for whoever implements this. **Invariant:** nothing that it says is believed: what a name points to is
//! a digest, and bytes are hashed by whoever takes them in. Whatever it does, each call comes to an end.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use millpond_store::Digest;

use crate::AssetKind;

/// Why something could not be had of it: a part of a sentence.
pub type Trouble = String;

/// What comes of asking it.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What it answers, once it does or is given up.
pub type Answer<'a, T> = Asked<'a, Result<T, Trouble>>;

/// What is had of a blob; `None` if it is not there.
pub type HadBlob = Result<Option<Bytes>, Trouble>;

/// A name, as another server is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamName {
    /// An asset, or one of BuildStream 1's references by its URI.
    Asset {
        /// Blob or directory.
        kind: AssetKind,
        /// Its URI.
        uri: String,
        /// Name and value each.
        qualifiers: Vec<(String, String)>,
    },
    /// The result of an action.
    ActionResult(Digest),
}

/// What a name points to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamValue {
    /// A blob or the root of a tree, as the name's kind says.
    Asset {
        /// It.
        digest: Digest,
        /// When it ends, in Unix seconds.
        expires: Option<u64>,
    },
    /// The encoded result of an action.
    ActionResult(Bytes),
}

impl UpstreamValue {
    /// Whether it is this blob or tree.
    pub(crate) fn is(&self, wanted: &Digest) -> bool {
        matches!(self, Self::Asset { digest, .. } if digest == wanted)
    }
}

/// Another server that runs.
pub trait Upstream: fmt::Debug + Send + Sync + 'static {
    /// What a name points to there; `None` if it is not there.
    fn value<'a>(&'a self, name: &'a UpstreamName) -> Answer<'a, Option<UpstreamValue>>;

    /// Which of these blobs are not there.
    fn missing(&self, digests: Vec<Digest>) -> Answer<'_, Vec<Digest>>;

    /// Reads blobs whole that are at most a few MiB together, or one that is larger: what is had of each, in their order. `None`
    /// for one that is not there.
    fn read_whole<'a>(&'a self, digests: &'a [Digest]) -> Asked<'a, Vec<HadBlob>>;

    /// Begins to read a blob of any size.
    fn read(&self, digest: Digest) -> Box<dyn UpstreamBlob>;

    /// Why nothing more is to be expected of it, if so.
    fn lost(&self) -> Option<Trouble>;
}

/// A blob that is read.
pub trait UpstreamBlob: Send {
    /// The next bytes, at most so many in all as the digest says; none at its end. The first answer is `None` if it is not there.
    fn next(&mut self) -> Answer<'_, Option<Bytes>>;
}
