//! What a closure holds, for whoever looks at it from outside: nothing is raised by that, and nothing verified.
//!
//! Blocking, as the walk is. What is there now may be let go in the next moment: nothing may be promised by what is seen.

use std::collections::HashSet;

use bytes::Bytes;
use millpond_store::Digest;
use millpond_store::blobs::Blobs;

use super::{
    MESSAGE_BYTES_MAX, Parts, Roots, Subject, Walker, action_result, action_result_roots, asset_roots,
    children, too_deep, too_many,
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

/// What becomes of a blob that is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was met before.
    Before,
    /// It is there.
    There,
    /// It is not.
    Missing,
}

/// Who looks: remembers what was met and read, so that nothing is twice.
pub(crate) trait Look {
    /// Meets a blob.
    fn meet(&mut self, digest: &Digest) -> Met;
    /// Whether a message that was met is to be read: only the first time.
    fn reads(&mut self, digest: &Digest) -> bool;
    /// Whether it looks at nothing more.
    fn ends(&self) -> bool {
        false
    }
}

/// Looks at one closure by itself.
pub(crate) struct AtOne<'w> {
    blobs: &'w Blobs,
    /// What was met.
    pub met: HashSet<Digest>,
    /// Apart, since the content of a file may well be a Directory of the same tree.
    read: HashSet<Digest>,
    most: usize,
}

impl<'w> AtOne<'w> {
    /// Has met nothing yet; what is there is there in `blobs`.
    pub(crate) fn new(blobs: &'w Blobs) -> Self {
        Self::up_to(usize::MAX, blobs)
    }

    /// The same, which ends the look once it met more than so many blobs.
    pub(crate) fn up_to(most: usize, blobs: &'w Blobs) -> Self {
        Self { blobs, met: HashSet::new(), read: HashSet::new(), most }
    }

    /// Whether it met more than it looks at.
    pub(crate) fn is_full(&self) -> bool {
        self.met.len() > self.most
    }
}

impl Look for AtOne<'_> {
    fn meet(&mut self, digest: &Digest) -> Met {
        match self.met.insert(*digest) {
            false => Met::Before,
            true if self.blobs.contains(digest) => Met::There,
            true => Met::Missing,
        }
    }

    fn reads(&mut self, digest: &Digest) -> bool {
        self.read.insert(*digest)
    }

    fn ends(&self) -> bool {
        self.is_full()
    }
}

struct Inspection<'i> {
    walker: &'i Walker,
    look: &'i mut dyn Look,
    met: usize,
    contents: Contents,
}

impl Walker {
    /// Looks at the closure of `subject`. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a message of it is malformed, or the closure absurdly large; a fault of the disk.
    pub(crate) fn inspect(&self, subject: &Subject) -> Result<Contents> {
        let mut look = AtOne::new(&self.blobs);
        self.inspect_by(subject, &mut look)
    }

    /// The same for one who remembers what other closures held: what is told is what this one holds beside them.
    pub(crate) fn inspect_by(&self, subject: &Subject, look: &mut dyn Look) -> Result<Contents> {
        let mut inspection = Inspection { walker: self, look, met: 0, contents: Contents::default() };
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

    /// Counts a blob that was not met before.
    fn blob(&mut self, digest: &Digest, required: bool) -> Result<Met> {
        let met = self.look.meet(digest);
        self.met += usize::from(met != Met::Before);
        let most = self.walker.limits().closure_blobs;
        if self.met > most {
            return Err(too_many(digest, most));
        }
        if self.look.ends() {
            return Err(Error::Invalid("it has more blobs than are looked at".into()));
        }
        match met {
            Met::There => {
                self.contents.blobs += 1;
                self.contents.bytes += digest.size();
            }
            Met::Missing if required => self.note_missing(digest),
            Met::Missing | Met::Before => {}
        }
        Ok(met)
    }

    fn note_missing(&mut self, digest: &Digest) {
        self.contents.missing_count += 1;
        if self.contents.missing.len() < MISSING_NAMED_MAX {
            self.contents.missing.push(*digest);
        }
    }

    fn message(&mut self, digest: &Digest, required: bool) -> Result<Option<Bytes>> {
        if self.is_to_be_read(digest, required)? { self.read(digest) } else { Ok(None) }
    }

    /// Counts a message; whether it is there, as far as that is known, and was not read before.
    fn is_to_be_read(&mut self, digest: &Digest, required: bool) -> Result<bool> {
        let met = self.blob(digest, required)?;
        Ok(met != Met::Missing && self.look.reads(digest))
    }

    /// `None` if it went meanwhile, or is no message that a walk would read.
    fn read(&self, digest: &Digest) -> Result<Option<Bytes>> {
        if digest.size() > MESSAGE_BYTES_MAX {
            return Ok(None);
        }
        match self.walker.blobs.peek_small(digest) {
            Ok(content) => Ok(Some(content)),
            Err(millpond_store::Error::Missing) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn tree(&mut self, root: &Digest, required: bool) -> Result<()> {
        if !self.is_to_be_read(root, required)? {
            return Ok(());
        }
        if let Some(known) = self.walker.memos.known(root) {
            return known.iter().try_for_each(|digest| self.blob(digest, required).map(drop));
        }
        let mut level = vec![*root];
        for _ in 0..=self.walker.limits().tree_depth {
            if level.is_empty() {
                return Ok(());
            }
            let mut next = Vec::new();
            for directory in level {
                let Some(content) = self.read(&directory)? else { continue };
                let found = children(&directory, content)?;
                for file in found.files {
                    self.blob(&file, required)?;
                }
                for child in found.directories {
                    if self.is_to_be_read(&child, required)? {
                        next.push(child);
                    }
                }
            }
            level = next;
        }
        Err(too_deep(root, self.walker.limits().tree_depth))
    }
}
