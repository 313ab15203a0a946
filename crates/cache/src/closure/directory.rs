//! What a `Directory` message reaches: the blobs of its files, and its subdirectories.

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_store::Digest;
use prost::Message;

use super::wire_digest;
use crate::{Error, Result};

/// The children of one directory.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub files: Vec<Digest>,
    pub directories: Vec<Digest>,
}

/// Parses a serialised `Directory`.
pub(crate) fn children(digest: &Digest, content: Bytes) -> Result<Children> {
    let directory = reapi::Directory::decode(content)
        .map_err(|error| Error::Invalid(format!("{digest} is not a Directory: {error}")))?;
    of_message(&directory, digest)
}

/// The children of a directory already parsed; `holder` is the blob that it stands in, for messages.
pub(super) fn of_message(directory: &reapi::Directory, holder: &Digest) -> Result<Children> {
    let read = |digest: Option<&reapi::Digest>| {
        wire_digest(digest).and_then(|found| found.ok_or("it has none")).map_err(|reason| {
            Error::Invalid(format!("directory {holder} holds a node with a bad digest: {reason}"))
        })
    };
    let files = directory.files.iter().map(|node| read(node.digest.as_ref())).collect::<Result<_>>()?;
    let directories =
        directory.directories.iter().map(|node| read(node.digest.as_ref())).collect::<Result<_>>()?;
    Ok(Children { files, directories })
}
