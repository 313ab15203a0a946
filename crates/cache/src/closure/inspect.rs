//! What a closure holds, for whoever looks at it from outside: nothing is raised by that, and nothing verified.
//!
//! Blocking, as the walk is. What is there now may be let go in the next moment: nothing may be promised by what is seen.

use std::collections::HashSet;

use bytes::Bytes;
use millpond_store::Digest;

use super::{
    CLOSURE_BLOBS_MAX, MESSAGE_BYTES_MAX, Parts, Roots, Subject, TREE_DEPTH_MAX, Walker, action_result,
    action_result_roots, asset_roots, children,
};
use crate::name::UriForm;
use crate::{Error, Result};

/// Missing blobs that are named.
const MISSING_NAMED_MAX: usize = 3;

/// What a closure was seen to hold. The optional part counts as far as it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Blobs that are there.
    pub blobs: u64,
    /// Their bytes, as clients count them.
    pub bytes: u64,
    /// The first few missing blobs of the required part.
    pub missing: Vec<Digest>,
    /// How many are known to be missing.
    pub missing_count: u64,
}

/// Hears of each blob that is there, once.
type Visit<'v> = &'v mut dyn FnMut(&Digest);

struct Inspection<'i> {
    walker: &'i Walker,
    visit: Visit<'i>,
    seen: HashSet<Digest>,
    contents: Contents,
}

impl Walker {
    /// Looks at the closure of `subject`, and shows each blob that is there to `visit`, once. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a message of it is malformed, or the closure absurdly large; a fault of the disk.
    pub(crate) fn inspect(&self, subject: &Subject, visit: Visit<'_>) -> Result<Contents> {
        let mut inspection =
            Inspection { walker: self, visit, seen: HashSet::new(), contents: Contents::default() };
        inspection.run(subject)?;
        Ok(inspection.contents)
    }
}

impl Inspection<'_> {
    fn run(&mut self, subject: &Subject) -> Result<()> {
        let Some(Roots { required, optional }) = self.roots(subject)? else { return Ok(()) };
        self.parts(&required, true)?;
        self.parts(&optional, false)
    }

    /// `None` if the message that the roots stand in is missing.
    fn roots(&mut self, subject: &Subject) -> Result<Option<Roots>> {
        match subject {
            Subject::ActionResult { blob, content: Some(content) } => {
                action_result_roots(*blob, content).map(Some)
            }
            Subject::ActionResult { blob: Some(blob), content: None } => {
                let content = self.message(blob, true)?;
                content.map(|content| action_result_roots(Some(*blob), &content)).transpose()
            }
            Subject::ActionResult { blob: None, content: None } => {
                Err(Error::internal("an action result without bytes"))
            }
            Subject::Asset { form: UriForm::Artifact | UriForm::Source, digest, .. } => {
                let content = self.message(digest, true)?;
                content.map(|content| asset_roots(subject, Some(content))).transpose()
            }
            Subject::Asset { .. } => asset_roots(subject, None).map(Some),
            Subject::Elsewhere { blob } => {
                let required = Parts { blobs: blob.iter().copied().collect(), ..Parts::default() };
                Ok(Some(Roots { required, optional: Parts::default() }))
            }
        }
    }

    fn parts(&mut self, parts: &Parts, required: bool) -> Result<()> {
        for blob in &parts.blobs {
            self.blob(blob, required)?;
        }
        for digest in &parts.tree_messages {
            if let Some(content) = self.message(digest, required)? {
                for file in action_result::files_of_tree_message(digest, content)? {
                    self.blob(&file, required)?;
                }
            }
        }
        for root in &parts.trees {
            match self.tree(root, required) {
                // As far as it could be read it was counted; the rest dangles.
                Err(Error::Invalid(_)) if !required => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Counts a blob; whether it is there, and was not counted before.
    fn blob(&mut self, digest: &Digest, required: bool) -> Result<bool> {
        if !self.seen.insert(*digest) {
            return Ok(false);
        }
        if self.seen.len() > CLOSURE_BLOBS_MAX {
            return Err(Error::Invalid(format!("a closure has more than {CLOSURE_BLOBS_MAX} blobs")));
        }
        if self.walker.blobs.contains(digest) {
            (self.visit)(digest);
            self.contents.blobs += 1;
            self.contents.bytes += digest.size();
            return Ok(true);
        }
        if required {
            self.note_missing(digest);
        }
        Ok(false)
    }

    fn note_missing(&mut self, digest: &Digest) {
        self.contents.missing_count += 1;
        if self.contents.missing.len() < MISSING_NAMED_MAX {
            self.contents.missing.push(*digest);
        }
    }

    fn message(&mut self, digest: &Digest, required: bool) -> Result<Option<Bytes>> {
        if self.blob(digest, required)? { self.read(digest) } else { Ok(None) }
    }

    /// `None` if it went meanwhile, or is no message that a walk would read.
    fn read(&self, digest: &Digest) -> Result<Option<Bytes>> {
        if digest.size() > MESSAGE_BYTES_MAX {
            return Ok(None);
        }
        match self.walker.blobs.read_small(digest) {
            Ok(content) => Ok(Some(content)),
            Err(millpond_store::Error::Missing) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn tree(&mut self, root: &Digest, required: bool) -> Result<()> {
        if let Some(known) = self.walker.memos.known(root) {
            return known.iter().try_for_each(|digest| self.blob(digest, required).map(drop));
        }
        let mut level = vec![*root];
        // Apart, since the content of a file may well be a Directory of the same tree.
        let mut read = HashSet::from([*root]);
        for _ in 0..TREE_DEPTH_MAX {
            if level.is_empty() {
                return Ok(());
            }
            let mut next = Vec::new();
            for directory in level {
                self.blob(&directory, required)?;
                let Some(content) = self.read(&directory)? else { continue };
                let found = children(&directory, content)?;
                for file in found.files {
                    self.blob(&file, required)?;
                }
                next.extend(found.directories.into_iter().filter(|child| read.insert(*child)));
            }
            level = next;
        }
        Err(Error::Invalid(format!("the tree {root} is nested deeper than {TREE_DEPTH_MAX} directories")))
    }
}
