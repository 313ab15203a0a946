//! What an `ActionResult` reaches: output files, output directories (as `Tree` and as root), stdout and stderr.
//! Neither the Action nor its Command: results outlive them.

use std::fmt::Display;

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_store::Digest;

use super::pieces::{self, InPieces};
use super::{directory, wire_digest};
use crate::{Error, Result};

/// What one result refers to.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// Files, stdout, stderr.
    pub blobs: Vec<Digest>,
    /// Root `Directory` blobs.
    pub trees: Vec<Digest>,
    /// Blobs that are `Tree` messages.
    pub tree_messages: Vec<Digest>,
    /// Contents that came with the result, to be stored as blobs.
    pub inline: Vec<(Digest, Bytes)>,
}

impl InPieces for reapi::ActionResult {
    fn is_plain(tag: u32, value: &[u8]) -> bool {
        match tag {
            // An output file, whose contents may stand in it.
            2 => pieces::is_small_beside(5, value),
            // Standard output and error.
            5 | 7 => true,
            _ => false,
        }
    }
}

/// Parses a serialised `ActionResult`.
pub(crate) fn outputs(result: &Bytes) -> Result<Outputs> {
    let mut outputs = Outputs::default();
    let take = |piece: &mut reapi::ActionResult| {
        for file in piece.output_files.drain(..) {
            outputs.blob(file.digest.as_ref(), &file.contents)?;
        }
        for output in piece.output_directories.drain(..) {
            outputs.tree_messages.extend(read(output.tree_digest.as_ref())?);
            outputs.trees.extend(read(output.root_directory_digest.as_ref())?);
        }
        piece.output_file_symlinks.clear();
        piece.output_directory_symlinks.clear();
        piece.output_symlinks.clear();
        piece.execution_metadata = None;
        Ok(())
    };
    let bad = |why: &dyn Display| Error::Invalid(format!("the action result does not parse: {why}"));
    let rest = pieces::read(result.clone(), take, bad)?;
    outputs.blob(rest.stdout_digest.as_ref(), &rest.stdout_raw)?;
    outputs.blob(rest.stderr_digest.as_ref(), &rest.stderr_raw)?;
    Ok(outputs)
}

impl Outputs {
    fn blob(&mut self, digest: Option<&reapi::Digest>, contents: &Bytes) -> Result<()> {
        if let Some(digest) = read(digest)? {
            self.blobs.push(digest);
            if !contents.is_empty() {
                self.inline.push((digest, contents.clone()));
            }
        }
        Ok(())
    }
}

/// The files that a `Tree` message holds. Its directories stand in the message itself.
pub(crate) fn files_of_tree_message(digest: &Digest, content: Bytes) -> Result<Vec<Digest>> {
    let mut files = Vec::new();
    for field in pieces::fields(content) {
        let (tag, directory) =
            field.map_err(|error| Error::Invalid(format!("{digest} is not a Tree message: {error}")))?;
        // The root, and all others.
        if matches!(tag, 1 | 2) {
            files.append(&mut directory::children(digest, directory)?.files);
        }
    }
    Ok(files)
}

fn read(digest: Option<&reapi::Digest>) -> Result<Option<Digest>> {
    wire_digest(digest)
        .map_err(|reason| Error::Invalid(format!("the action result holds a bad digest: {reason}")))
}
