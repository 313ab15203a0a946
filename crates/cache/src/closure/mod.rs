//! Closures: every blob that a name reaches, in a required and an optional part.
//!
//! A name is *whole* when the required part is there; the optional part may dangle. What is walked is raised, and a
//! blob counts as there only once it is raised (**invariant:** after a walk to a level that found nothing missing,
//! level(blob) is at least that level for the whole required part, and for what is there of the optional one).
//! This module knows no names and commits nothing.

mod action_result;
mod artifact;
mod directory;
mod inspect;
mod memo;
pub(crate) mod pieces;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_store::Digest;
use prost::Message;

use crate::name::UriForm;
use crate::{AssetKind, Error, Limit, Result};

pub(crate) use action_result::{files_of_tree_message, outputs};
pub(crate) use directory::{Children, children};
pub(crate) use inspect::{AtOne, Contents, Look, Met};
pub(crate) use walk::{Walked, Walker};

/// The largest `Directory`, `Tree`, `Artifact` or `ActionResult` blob that a walk reads, in bytes: a directory of
/// 100 000 files takes about 10 MB.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// The error of a tree that is nested too deep.
pub(crate) fn too_deep(root: &impl std::fmt::Display, most: usize) -> Error {
    Limit::TreeDepth.met();
    Error::Invalid(format!("{root} is nested deeper than {most} directories"))
}

/// The error of a closure that is too large, noticed when its walk was at `place`.
pub(crate) fn too_many(place: &impl std::fmt::Display, most: usize) -> Error {
    Limit::ClosureBlobs.met();
    Error::Invalid(format!("a closure has more than {most} blobs, up to {place}"))
}

/// Where a walk begins.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// An asset: what its URI says, what it points to, and what its push declared.
    Asset { form: UriForm, kind: AssetKind, digest: Digest, references: Arc<References> },
    /// An action result: the blob that holds it, if it has one, and its bytes if they are at hand.
    ActionResult { blob: Option<Digest>, content: Option<Bytes> },
    /// Its blobs lie on another server, but for the one that holds its message.
    Elsewhere { blob: Option<Digest> },
}

impl Subject {
    /// The message in a blob that says where its closure begins, if there is one.
    pub(crate) fn message(&self) -> Option<Digest> {
        match self {
            Self::Asset { form: UriForm::Artifact | UriForm::Source, digest, .. } => Some(*digest),
            Self::ActionResult { blob, content: None } => *blob,
            Self::Asset { .. } | Self::ActionResult { .. } | Self::Elsewhere { .. } => None,
        }
    }

    /// Whether one walk serves both.
    pub(crate) fn same_closure(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Asset { form, kind, digest, references },
                Self::Asset { form: form2, kind: kind2, digest: digest2, references: references2 },
            ) => (form, kind, digest, references) == (form2, kind2, digest2, references2),
            (Self::Elsewhere { blob }, Self::Elsewhere { blob: other }) => blob == other,
            _ => false,
        }
    }
}

/// Digests in one part of a closure, by how they are walked.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Blobs as they are.
    pub blobs: Vec<Digest>,
    /// Roots of trees of `Directory` messages.
    pub trees: Vec<Digest>,
    /// `Tree` messages, which hold their directories themselves.
    pub tree_messages: Vec<Digest>,
}

/// A closure before its trees are walked.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    pub required: Parts,
    pub optional: Parts,
}

/// What the push of an asset declared beside its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub blobs: Vec<Digest>,
    pub directories: Vec<Digest>,
}

/// How [`References`] lie in a row of the catalog: digests of 40 bytes, hash then size (little-endian), end to end.
#[derive(Clone, PartialEq, Message)]
struct StoredReferences {
    #[prost(bytes = "bytes", tag = "1")]
    blobs: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    directories: Bytes,
}

impl References {
    /// As a row keeps them.
    pub(crate) fn encode(&self) -> Bytes {
        let pack = |digests: &[Digest]| {
            let mut packed = Vec::with_capacity(digests.len() * 40);
            for digest in digests {
                packed.extend_from_slice(digest.hash());
                packed.extend_from_slice(&digest.size().to_le_bytes());
            }
            Bytes::from(packed)
        };
        StoredReferences { blobs: pack(&self.blobs), directories: pack(&self.directories) }
            .encode_to_vec()
            .into()
    }

    /// From a row.
    pub(crate) fn decode(stored: &Bytes) -> Result<Self> {
        let stored = StoredReferences::decode(stored.clone()).map_err(Error::internal)?;
        let unpack = |packed: &Bytes| -> Result<Vec<Digest>> {
            let (digests, rest) = packed.as_chunks::<40>();
            let digests = digests.iter().map(unpack_digest);
            digests
                .collect::<Option<_>>()
                .filter(|_| rest.is_empty())
                .ok_or_else(|| Error::internal("bad references in a row"))
        };
        Ok(Self { blobs: unpack(&stored.blobs)?, directories: unpack(&stored.directories)? })
    }
}

fn unpack_digest(entry: &[u8; 40]) -> Option<Digest> {
    let (hash, size) = entry.split_first_chunk::<32>()?;
    let size = u64::from_le_bytes(*size.first_chunk::<8>()?);
    Digest::from_parts(millpond_store::DigestFunction::Sha256, *hash, size)
}

/// Reads a message as each of those that it may be.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_everything_as(digest: &Digest, content: &Bytes) {
    let _ = artifact::of_artifact(*digest, content.clone());
    let _ = artifact::of_source(*digest, content.clone());
    let _ = directory::children(digest, content.clone());
    let _ = action_result::outputs(content);
    let _ = action_result::files_of_tree_message(digest, content.clone());
}

/// A digest inside a message: absent or empty (as BuildStream 2.0 to 2.6 send it for what an artifact lacks), good,
/// or bad with the reason.
pub(crate) fn wire_digest(digest: Option<&reapi::Digest>) -> Result<Option<Digest>, &'static str> {
    match digest {
        None => Ok(None),
        Some(digest) if digest.hash.is_empty() => Ok(None),
        Some(digest) => {
            Digest::parse(&digest.hash, digest.size_bytes).map(Some).map_err(|error| match error {
                millpond_store::DigestError::Hash => "a SHA-256 hash is 64 lower-case hexadecimal digits",
                millpond_store::DigestError::Size => "a size is a number of bytes from 0 up",
            })
        }
    }
}

/// The closure's roots for an asset whose blob is at hand.
fn asset_roots(subject: &Subject, content: Option<Bytes>) -> Result<Roots> {
    let Subject::Asset { form, kind, digest, references } = subject else {
        return Err(Error::internal("not an asset"));
    };
    let mut roots = match (form, content) {
        (UriForm::Artifact, Some(content)) => artifact::of_artifact(*digest, content)?,
        (UriForm::Source, Some(content)) => artifact::of_source(*digest, content)?,
        _ => {
            let mut required = Parts::default();
            match kind {
                AssetKind::Blob => required.blobs.push(*digest),
                AssetKind::Directory => required.trees.push(*digest),
            }
            required.blobs.extend_from_slice(&references.blobs);
            required.trees.extend_from_slice(&references.directories);
            return Ok(Roots { required, optional: Parts::default() });
        }
    };
    roots.optional.blobs.extend_from_slice(&references.blobs);
    roots.optional.trees.extend_from_slice(&references.directories);
    Ok(roots)
}

/// Where a closure begins, `content` being that of [`Subject::message`].
pub(crate) fn roots_of(subject: &Subject, content: Option<Bytes>) -> Result<Roots> {
    match subject {
        Subject::Asset { .. } => asset_roots(subject, content),
        Subject::ActionResult { blob, content: known } => {
            let content = known.clone().or(content);
            let content = content.ok_or_else(|| Error::internal("an action result without bytes"))?;
            action_result_roots(*blob, &content)
        }
        Subject::Elsewhere { .. } => Ok(Roots::default()),
    }
}

/// The closure's roots for an action result.
fn action_result_roots(blob: Option<Digest>, content: &Bytes) -> Result<Roots> {
    let outputs = outputs(content)?;
    let mut blobs = outputs.blobs;
    blobs.extend(blob);
    let required = Parts { blobs, trees: outputs.trees, tree_messages: outputs.tree_messages };
    Ok(Roots { required, optional: Parts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back_from_a_row_as_they_went_in() {
        let references =
            References { blobs: vec![Digest::of(b"a"), Digest::EMPTY], directories: vec![Digest::of(b"b")] };
        assert_eq!(References::decode(&references.encode()).unwrap(), references);
        assert_eq!(References::decode(&References::default().encode()).unwrap(), References::default());
    }

    #[test]
    fn damaged_references_are_an_error() {
        let stored = StoredReferences { blobs: Bytes::from_static(b"short"), directories: Bytes::new() };
        assert!(References::decode(&stored.encode_to_vec().into()).is_err());
    }
}
