//! What BuildStream 2's `Artifact` and `Source` messages reach.
//!
//! Required is what every pull fetches; optional is what is fetched with `pull-buildtrees` only, and what BuildStream
//! 2.0 to 2.6 declare without ever uploading it (the `sources` tree where buildtrees are cached).

use std::fmt::Display;

use bytes::Bytes;
use millpond_proto::buildstream;
use millpond_proto::reapi;
use millpond_store::Digest;

use super::pieces::{self, InPieces};
use super::{Parts, Roots, wire_digest};
use crate::{Error, Result};

impl InPieces for buildstream::Artifact {
    fn is_plain(tag: u32, _: &[u8]) -> bool {
        // Why its build failed, and at what length.
        matches!(tag, 3 | 4)
    }
}

impl InPieces for buildstream::Source {}

/// The closure of an `Artifact` blob.
pub(super) fn of_artifact(blob: Digest, content: Bytes) -> Result<Roots> {
    let mut required = Parts { blobs: vec![blob], ..Parts::default() };
    let mut optional = Parts::default();
    let take = |piece: &mut buildstream::Artifact| {
        for log in piece.logs.drain(..) {
            add(&mut required.blobs, log.digest.as_ref(), &blob)?;
        }
        for digest in piece.buildsandbox.take().iter().flat_map(|sandbox| &sandbox.subsandbox_digests) {
            add(&mut optional.trees, Some(digest), &blob)?;
        }
        piece.build_deps.clear();
        Ok(())
    };
    let bad = |why: &dyn Display| Error::Invalid(format!("{blob} is not an Artifact message: {why}"));
    let artifact = pieces::read(content, take, bad)?;
    for digest in [&artifact.public_data, &artifact.low_diversity_meta, &artifact.high_diversity_meta] {
        add(&mut required.blobs, digest.as_ref(), &blob)?;
    }
    add(&mut required.trees, artifact.files.as_ref(), &blob)?;
    for digest in [&artifact.buildtree, &artifact.sources, &artifact.buildroot] {
        add(&mut optional.trees, digest.as_ref(), &blob)?;
    }
    Ok(Roots { required, optional })
}

/// The closure of a `Source` blob.
pub(super) fn of_source(blob: Digest, content: Bytes) -> Result<Roots> {
    let bad = |why: &dyn Display| Error::Invalid(format!("{blob} is not a Source message: {why}"));
    let source: buildstream::Source = pieces::read(content, |_| Ok(()), bad)?;
    let mut required = Parts { blobs: vec![blob], ..Parts::default() };
    add(&mut required.trees, source.files.as_ref(), &blob)?;
    Ok(Roots { required, optional: Parts::default() })
}

fn add(to: &mut Vec<Digest>, digest: Option<&reapi::Digest>, blob: &Digest) -> Result<()> {
    let found = wire_digest(digest)
        .map_err(|reason| Error::Invalid(format!("the message in {blob} holds a bad digest: {reason}")))?;
    to.extend(found);
    Ok(())
}
