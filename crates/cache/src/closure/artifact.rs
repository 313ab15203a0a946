//! What BuildStream 2's `Artifact` and `Source` messages reach.
//!
//! Required is what every pull fetches; optional is what is fetched with `pull-buildtrees` only, and what BuildStream
//! 2.0 to 2.6 declare without ever uploading it (the `sources` tree where buildtrees are cached).

use bytes::Bytes;
use millpond_proto::buildstream;
use millpond_proto::reapi;
use millpond_store::Digest;
use prost::Message;

use super::{Parts, Roots, wire_digest};
use crate::{Error, Result};

/// The closure of an `Artifact` blob.
pub(super) fn of_artifact(blob: Digest, content: Bytes) -> Result<Roots> {
    let artifact = buildstream::Artifact::decode(content)
        .map_err(|error| Error::Invalid(format!("{blob} is not an Artifact message: {error}")))?;
    let mut required = Parts { blobs: vec![blob], ..Parts::default() };
    let blobs = [&artifact.public_data, &artifact.low_diversity_meta, &artifact.high_diversity_meta];
    for digest in blobs.into_iter().chain(artifact.logs.iter().map(|log| &log.digest)) {
        add(&mut required.blobs, digest.as_ref(), &blob)?;
    }
    add(&mut required.trees, artifact.files.as_ref(), &blob)?;
    let mut optional = Parts::default();
    for digest in [&artifact.buildtree, &artifact.sources, &artifact.buildroot] {
        add(&mut optional.trees, digest.as_ref(), &blob)?;
    }
    for digest in artifact.buildsandbox.iter().flat_map(|sandbox| &sandbox.subsandbox_digests) {
        add(&mut optional.trees, Some(digest), &blob)?;
    }
    Ok(Roots { required, optional })
}

/// The closure of a `Source` blob.
pub(super) fn of_source(blob: Digest, content: Bytes) -> Result<Roots> {
    let source = buildstream::Source::decode(content)
        .map_err(|error| Error::Invalid(format!("{blob} is not a Source message: {error}")))?;
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
