//! What an `ActionResult` reaches: output files, output directories (as `Tree` and as root), stdout and stderr.
//! Neither the Action nor its Command: results outlive them.

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_store::Digest;
use prost::Message;

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

/// Parses a serialised `ActionResult`.
pub(crate) fn outputs(result: &Bytes) -> Result<Outputs> {
    let result = reapi::ActionResult::decode(result.clone())
        .map_err(|error| Error::Invalid(format!("the action result does not parse: {error}")))?;
    let mut outputs = Outputs::default();
    for file in &result.output_files {
        outputs.blob(file.digest.as_ref(), &file.contents)?;
    }
    outputs.blob(result.stdout_digest.as_ref(), &result.stdout_raw)?;
    outputs.blob(result.stderr_digest.as_ref(), &result.stderr_raw)?;
    for output in &result.output_directories {
        outputs.tree_messages.extend(read(output.tree_digest.as_ref())?);
        outputs.trees.extend(read(output.root_directory_digest.as_ref())?);
    }
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
    let tree = reapi::Tree::decode(content)
        .map_err(|error| Error::Invalid(format!("{digest} is not a Tree message: {error}")))?;
    let mut files = Vec::new();
    for message in tree.root.iter().chain(&tree.children) {
        files.append(&mut directory::of_message(message, digest)?.files);
    }
    Ok(files)
}

fn read(digest: Option<&reapi::Digest>) -> Result<Option<Digest>> {
    wire_digest(digest)
        .map_err(|reason| Error::Invalid(format!("the action result holds a bad digest: {reason}")))
}
