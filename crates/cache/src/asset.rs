//! Assets and BuildStream 1's references, which are one kind of name.

use std::sync::Arc;

use millpond_store::Digest;
use millpond_store::catalog::Target;

use crate::closure::{References, Subject};
use crate::name::{self, BUILDSTREAM, UriForm};
use crate::publish::Publication;
use crate::{Cache, Error, InstanceKind, Permit, Pull, Push, Result};

/// Digests that one push may declare beside its own.
const REFERENCES_MAX: usize = 100_000;

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
    /// At least one of the names keeps the whole value that it had, and is served with that.
    Kept,
}

/// Each digest once; the empty blob is always there.
fn distinct(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort_unstable();
    digests.dedup();
    digests.retain(|digest| *digest != Digest::EMPTY);
    digests
}

/// What BuildStream 1 calls a key, as the URI under which BuildStream 1.6 pushes the same thing as an asset.
pub fn reference_uri(key: &str) -> Result<String> {
    if key.is_empty() {
        return Err(Error::Invalid("the reference's key is empty: give PROJECT/ELEMENT/KEY".into()));
    }
    Ok(format!("{BUILDSTREAM}v1:{key}"))
}

/// The key of BuildStream 1 that such a URI is of.
pub fn reference_key(uri: &str) -> Option<&str> {
    uri.strip_prefix(BUILDSTREAM)?.strip_prefix("v1:")
}

impl Cache {
    /// Publishes an asset: durable once it answers `Whole`.
    pub async fn push_asset(&self, permit: &Permit<Push>, push: AssetPush) -> Result<Published> {
        name::check_uris(&push.uris, self.inner.walker.limits().names_per_push)?;
        permit.instance().takes_names()?;
        let qualifiers = name::canonical_qualifiers(&push.qualifiers)?;
        let AssetPush { kind, uris, digest, references_blobs, references_directories, .. } = push;
        let references = Arc::new(References {
            blobs: distinct(references_blobs),
            directories: distinct(references_directories),
        });
        let count = (references.blobs.len() + references.directories.len()) * uris.len();
        if count > REFERENCES_MAX {
            return Err(Error::Invalid(format!(
                "{count} references in one push, counted for each URI: give at most {REFERENCES_MAX}"
            )));
        }
        let forms = uris.iter().map(|uri| UriForm::of(kind, uri));
        let may_wait = forms.clone().all(UriForm::may_wait_for_blobs);
        let elsewhere = permit.instance().kind() == InstanceKind::IndexOnly;
        let named = uris.iter().zip(forms).map(|(uri, form)| {
            let subject = if elsewhere {
                Subject::Elsewhere { blob: None }
            } else {
                Subject::Asset { form, kind, digest, references: Arc::clone(&references) }
            };
            Ok((
                self.inner.to_publish(permit, name::asset(permit.instance(), kind, uri, &qualifiers))?,
                subject,
            ))
        });
        let target = match kind {
            AssetKind::Blob => Target::Blob(digest),
            AssetKind::Directory => Target::Directory(digest),
        };
        let publication = Publication {
            names: named.collect::<Result<_>>()?,
            target,
            references: references.encode(),
            expires: push.expire_at,
            client: permit.client().clone(),
            pushed: None,
            may_wait,
            promotes: None,
            in_place_of: None,
        };
        self.inner.publish_pushed(publication).await
    }

    /// Looks an asset up: whole, and for the lease; else `NotFound`.
    pub async fn fetch_asset(&self, permit: &Permit<Pull>, query: AssetQuery) -> Result<FoundAsset> {
        name::check_uris(&query.uris, self.inner.walker.limits().names_per_push)?;
        let qualifiers = name::canonical_qualifiers(&query.qualifiers)?;
        for uri in query.uris {
            let name = permit.looks_up(name::asset(permit.instance(), query.kind, &uri, &qualifiers));
            let found = match name {
                Ok(name) => self.inner.look_up(&name).await,
                Err(error) => Err(error),
            };
            let value = match found {
                Ok(value) => value,
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            if query.oldest_content_accepted.is_some_and(|oldest| value.pushed < oldest) {
                continue;
            }
            if let Target::Blob(digest) | Target::Directory(digest) = value.target {
                return Ok(FoundAsset { uri, digest, expires_at: value.expires });
            }
        }
        Err(Error::NotFound("none of the URIs".into()))
    }
}
