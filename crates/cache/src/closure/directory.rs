//! What a `Directory` message reaches: the blobs of its files, and its subdirectories.

use std::fmt::Display;

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_store::Digest;

use super::pieces::{self, InPieces};
use super::wire_digest;
use crate::{Error, Result};

/// The children of one directory.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub files: Vec<Digest>,
    pub directories: Vec<Digest>,
}

impl InPieces for reapi::Directory {}

/// Parses a serialised `Directory`, which stands in the blob `holder`.
pub(crate) fn children(holder: &Digest, content: Bytes) -> Result<Children> {
    let read = |digest: Option<&reapi::Digest>| {
        wire_digest(digest).and_then(|found| found.ok_or("it has none")).map_err(|reason| {
            Error::Invalid(format!("directory {holder} holds a node with a bad digest: {reason}"))
        })
    };
    let mut children = Children::default();
    let take = |piece: &mut reapi::Directory| {
        let reapi::Directory { files, directories, symlinks: _, node_properties: _ } = std::mem::take(piece);
        children.files.reserve(files.len());
        for node in &files {
            children.files.push(read(node.digest.as_ref())?);
        }
        for node in &directories {
            children.directories.push(read(node.digest.as_ref())?);
        }
        Ok(())
    };
    let bad = |why: &dyn Display| Error::Invalid(format!("{holder} is not a Directory: {why}"));
    pieces::read(content, take, bad)?;
    Ok(children)
}
