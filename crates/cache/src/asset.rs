//! Assets and BuildStream 1's references, which are one kind of name.

use millpond_store::Digest;

use crate::{Error, Result};

/// What a URI points to. Blob URIs and directory URIs are name spaces apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssetKind {
    /// A blob (`FetchBlob`, `PushBlob`).
    Blob,
    /// A tree by its root `Directory` (`FetchDirectory`, `PushDirectory`, BuildStream 1's references).
    Directory,
}

/// A push of one asset under one or more URIs, which commit together.
#[derive(Clone, Debug)]
pub struct AssetPush {
    /// Blob or directory.
    pub kind: AssetKind,
    /// At least one.
    pub uris: Vec<String>,
    /// Name and value each; their order does not matter.
    pub qualifiers: Vec<(String, String)>,
    /// What the URIs will point to.
    pub digest: Digest,
    /// Unix seconds from which on it is not served.
    pub expire_at: Option<u64>,
    /// Blobs that it refers to; empty digests are left out by the caller.
    pub references_blobs: Vec<Digest>,
    /// Trees that it refers to; empty digests are left out by the caller.
    pub references_directories: Vec<Digest>,
}

/// A look-up of an asset: any of the URIs will do, the first that hits wins.
#[derive(Clone, Debug)]
pub struct AssetQuery {
    /// Blob or directory.
    pub kind: AssetKind,
    /// At least one.
    pub uris: Vec<String>,
    /// As they were pushed; their order does not matter.
    pub qualifiers: Vec<(String, String)>,
    /// Unix seconds: what was pushed before that is not wanted.
    pub oldest_content_accepted: Option<u64>,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAsset {
    /// The URI that hit.
    pub uri: String,
    /// The blob, or the root of the tree.
    pub digest: Digest,
    /// Unix seconds from which on it is not served, if the pusher set that.
    pub expires_at: Option<u64>,
}

/// What became of a push that was answered OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Whole, durable, served from now on.
    Whole,
    /// Kept aside until its missing blobs arrive; not served, no promise.
    Pending,
}

/// What BuildStream 1 calls a key, as the URI under which BuildStream 1.6 pushes the same thing as an asset.
pub fn reference_uri(key: &str) -> Result<String> {
    if key.is_empty() {
        return Err(Error::Invalid("the reference's key is empty: give PROJECT/ELEMENT/KEY".into()));
    }
    Ok(format!("urn:fdc:buildstream.build:2020:v1:{key}"))
}
