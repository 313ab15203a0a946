//! The walk: raises a closure and says what of its required part is missing.
//!
//! Blocking: reads directories from the volume where no memo knows them. A short walk is tried before that where nobody may
//! block, and given up at the first thing that it would have to wait for. A `Directory` is parsed only after it was raised,
//! so that nothing can go between looking and raising.

use std::collections::HashSet;
use std::sync::{Arc, TryLockError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond_store::blobs::{Blobs, SyncPoints};
use millpond_store::{Changing, Digest, Level};

use super::memo::{Memo, Memos, lock};
use super::{
    MESSAGE_BYTES_MAX, Parts, Roots, Subject, action_result, action_result_roots, asset_roots, children,
    too_deep, too_many,
};
use crate::name::UriForm;
use crate::{AssetKind, Error, Limits, Result};

/// How many missing blobs are named to the client.
const MISSING_NAMED_MAX: usize = 3;
/// What this process has neither written nor verified is verified in the walk, up to so much; the rest right after.
const CHECK_BYTES_MAX: u64 = 256 << 20;
const CHECK_TIME_MAX: Duration = Duration::from_secs(1);
/// What a walk raises at most where nobody may block: a tenth of a millisecond's work.
const AT_ONCE_BLOBS_MAX: usize = 1000;
/// The largest message that such a walk reads and parses, in bytes.
const AT_ONCE_MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// Walks closures over one blob store.
#[derive(Debug)]
pub(crate) struct Walker {
    pub(super) blobs: Blobs,
    pub(super) memos: Memos,
    /// How far a walk goes.
    limits: Changing<Limits>,
}

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Walked {
    /// The first few missing blobs of the required part.
    pub missing: Vec<Digest>,
    /// How many are known to be missing.
    pub missing_count: u64,
    /// What must be synced before the closure is durable.
    pub unsynced: SyncPoints,
    /// The level that the whole closure has at least.
    pub raised_to: Level,
    /// The epoch in which the walk began.
    pub epoch: u64,
    /// Blobs that are still to be verified.
    pub unchecked: Vec<Digest>,
}

impl Walked {
    /// Nothing of the required part is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing_count == 0
    }

    /// What two walks found together.
    pub(crate) fn join(&mut self, other: Self) {
        self.missing.extend(other.missing);
        self.missing.truncate(MISSING_NAMED_MAX);
        self.missing_count += other.missing_count;
        self.unsynced.merge(&other.unsynced);
        self.raised_to = self.raised_to.min(other.raised_to);
        self.epoch = self.epoch.min(other.epoch);
        self.unchecked.extend(other.unchecked);
    }
}

impl Walker {
    pub(crate) fn new(blobs: Blobs, limits: Limits) -> Self {
        Self { blobs, memos: Memos::default(), limits: Changing::new(limits) }
    }

    /// How far a walk goes, as it is set now.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.now()
    }

    /// From now on walks go so far.
    pub(crate) fn change(&self, limits: Limits) {
        self.limits.change(limits);
    }

    /// Raises the closure of `subject` to `to`. A tree that was found whole in this epoch and raised to `fresh_from`
    /// or later is not walked again: then `raised_to` is what it was raised to.
    pub(crate) fn walk(&self, subject: &Subject, to: Level, fresh_from: Level) -> Result<Walked> {
        self.walk_and_check(subject, to, fresh_from, CHECK_BYTES_MAX)
    }

    /// The same of all `subjects` together where nobody may block; `None` if it takes long, or waiting, and is left to
    /// [`Walker::walk`].
    pub(crate) fn walk_at_once(
        &self,
        subjects: &[Subject],
        to: Level,
        fresh_from: Level,
    ) -> Result<Option<Walked>> {
        let mut walk = self.begin(to, fresh_from, 0);
        walk.at_once = Some(AT_ONCE_BLOBS_MAX);
        for subject in subjects {
            let outcome = walk.run(subject);
            if walk.gave_up {
                return Ok(None);
            }
            outcome?;
        }
        Ok(Some(walk.found))
    }

    /// Raises the closure of `subject` to `to`, and leaves verifying to its next look-up.
    pub(crate) fn raise_only(&self, subject: &Subject, to: Level) -> Result<Walked> {
        self.walk_and_check(subject, to, to, 0)
    }

    /// The same, and marks every blob of it that is there as needed; whatever tree the pass with this number (from 1 on)
    /// has marked already is not walked again.
    pub(crate) fn raise_and_mark(&self, subject: &Subject, to: Level, pass: u64) -> Result<Walked> {
        let mut walk = self.begin(to, to, 0);
        walk.marks_for = Some(pass);
        walk.run(subject)?;
        Ok(walk.found)
    }

    /// Shows every blob of the closure of `subject`, some of them several times, and raises nothing.
    pub(crate) fn show(&self, subject: &Subject, show: Show<'_>) -> Result<Walked> {
        let mut walk = self.begin(Level::ZERO, Level::PINNED, 0);
        walk.shows = Some(show);
        walk.run(subject)?;
        Ok(walk.found)
    }

    fn walk_and_check(
        &self,
        subject: &Subject,
        to: Level,
        fresh_from: Level,
        check_bytes: u64,
    ) -> Result<Walked> {
        let mut walk = self.begin(to, fresh_from, check_bytes);
        walk.run(subject)?;
        Ok(walk.found)
    }

    /// As when there was no room for what is remembered.
    #[cfg(test)]
    pub(crate) fn forget_all(&self) {
        self.memos.forget_all();
    }

    fn begin(&self, to: Level, fresh_from: Level, check_bytes: u64) -> Walk<'_> {
        Walk {
            walker: self,
            to,
            fresh_from,
            marks_for: None,
            shows: None,
            at_once: None,
            gave_up: false,
            check_bytes,
            check_until: Instant::now() + CHECK_TIME_MAX,
            walked: 0,
            found: Walked {
                missing: Vec::new(),
                missing_count: 0,
                unsynced: SyncPoints::default(),
                raised_to: to,
                epoch: self.blobs.epoch(),
                unchecked: Vec::new(),
            },
        }
    }
}

/// Sees blobs.
type Show<'a> = &'a mut dyn FnMut(&[Digest]);

struct Walk<'a> {
    walker: &'a Walker,
    to: Level,
    fresh_from: Level,
    /// What is there is marked as needed, for the pass with this number.
    marks_for: Option<u64>,
    /// Sees every blob that is met.
    shows: Option<Show<'a>>,
    /// Where nobody may block: how many blobs it may still raise.
    at_once: Option<usize>,
    /// It met something to wait for, and what it has found is worth nothing.
    gave_up: bool,
    check_bytes: u64,
    check_until: Instant,
    walked: usize,
    found: Walked,
}

impl Walk<'_> {
    fn run(&mut self, subject: &Subject) -> Result<()> {
        let Some(Roots { required, optional }) = self.roots(subject)? else { return Ok(()) };
        self.required(&required)?;
        if self.found.is_whole() {
            self.optional(&optional)?;
        }
        Ok(())
    }

    /// Ends a walk that may not block.
    fn give_up(&mut self) -> Error {
        self.gave_up = true;
        Error::Busy("this walk has to wait for the disk".to_owned())
    }

    /// `None` if the message that the roots stand in is missing.
    fn roots(&mut self, subject: &Subject) -> Result<Option<Roots>> {
        match subject {
            Subject::ActionResult { blob, content: Some(content) } => {
                action_result_roots(*blob, content).map(Some)
            }
            Subject::ActionResult { blob, content: None } => {
                let Some(blob) = blob else { return Err(Error::internal("an action result without bytes")) };
                let content = self.message(blob)?;
                content.map(|content| action_result_roots(Some(*blob), &content)).transpose()
            }
            Subject::Asset {
                form: UriForm::Artifact | UriForm::Source,
                digest,
                kind: AssetKind::Blob,
                ..
            } => {
                let content = self.message(digest)?;
                content.map(|content| asset_roots(subject, Some(content))).transpose()
            }
            Subject::Asset { .. } => asset_roots(subject, None).map(Some),
            Subject::Elsewhere { blob } => {
                let required = Parts { blobs: blob.iter().copied().collect(), ..Parts::default() };
                Ok(Some(Roots { required, optional: Parts::default() }))
            }
        }
    }

    fn required(&mut self, parts: &Parts) -> Result<()> {
        let missing = self.raise(&parts.blobs)?;
        self.note_missing(&missing);
        for digest in &parts.tree_messages {
            if let Some(content) = self.message(digest)? {
                let files = action_result::files_of_tree_message(digest, content)?;
                let missing = self.raise(&files)?;
                self.note_missing(&missing);
            }
        }
        for root in &parts.trees {
            let missing = self.tree(root)?;
            self.note_missing(&missing);
        }
        Ok(())
    }

    /// What is there of it is raised; what is not, or cannot be read, dangles.
    fn optional(&mut self, parts: &Parts) -> Result<()> {
        self.raise(&parts.blobs)?;
        for root in &parts.trees {
            let before = self.found.raised_to;
            match self.tree(root) {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => tracing::debug!(%root, missing = missing.len(), "an optional tree dangles"),
                Err(error) if self.gave_up => return Err(error),
                // What has no mark at the end of a pass goes: this is tried again, unless it can never be read.
                Err(error) if self.marks_for.is_some() && !matches!(error, Error::Invalid(_)) => {
                    return Err(error);
                }
                Err(error) => {
                    self.found.raised_to = before;
                    tracing::debug!(%root, %error, "an optional tree cannot be walked");
                }
            }
        }
        Ok(())
    }

    /// Raises and reads a message; `None`, and noted, if it is missing.
    fn message(&mut self, digest: &Digest) -> Result<Option<Bytes>> {
        let missing = self.raise(std::slice::from_ref(digest))?;
        let content = if missing.is_empty() { self.read(digest)? } else { None };
        if content.is_none() {
            self.note_missing(std::slice::from_ref(digest));
        }
        Ok(content)
    }

    fn read(&mut self, digest: &Digest) -> Result<Option<Bytes>> {
        if digest.size() > MESSAGE_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "{digest} stands where a message is expected, and is larger than the {MESSAGE_BYTES_MAX} bytes that one may have"
            )));
        }
        let read = if self.at_once.is_some() {
            let at_hand = digest.size() <= AT_ONCE_MESSAGE_BYTES_MAX;
            match if at_hand { self.walker.blobs.try_read_small(digest) } else { Poll::Pending } {
                Poll::Ready(read) => read,
                Poll::Pending => return Err(self.give_up()),
            }
        } else if self.shows.is_some() {
            self.walker.blobs.peek_small(digest)
        } else {
            self.walker.blobs.read_small(digest)
        };
        match read {
            Ok(content) => Ok(Some(content)),
            Err(millpond_store::Error::Missing) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Raises blobs, verifies those that this process has not seen, and returns the missing.
    fn raise(&mut self, digests: &[Digest]) -> Result<Vec<Digest>> {
        if let Some(left) = self.at_once {
            let Some(left) = left.checked_sub(digests.len()) else { return Err(self.give_up()) };
            self.at_once = Some(left);
        }
        let raised = self.walker.blobs.raise(digests, self.to);
        if self.marks_for.is_some() {
            self.walker.blobs.mark(digests);
        }
        if let Some(show) = &mut self.shows {
            show(digests);
        }
        if self.at_once.is_some() && !raised.unchecked.is_empty() {
            return Err(self.give_up());
        }
        self.found.unsynced.merge(&raised.unsynced);
        let mut missing = raised.missing;
        for digest in raised.unchecked {
            if digest.size() > self.check_bytes || Instant::now() > self.check_until {
                self.found.unchecked.push(digest);
                continue;
            }
            self.check_bytes -= digest.size();
            match self.walker.blobs.verify(&digest) {
                Ok(()) => {}
                Err(millpond_store::Error::Missing) => missing.push(digest),
                // Out of descriptors, say: it is there as far as anybody knows, and looked at again later.
                Err(_) => self.found.unchecked.push(digest),
            }
        }
        Ok(missing)
    }

    /// Raises a tree by its memo, or by reading it; returns the missing.
    fn tree(&mut self, root: &Digest) -> Result<Vec<Digest>> {
        let memo = self.walker.memos.of(root);
        let mut memo = match memo.try_lock() {
            Err(TryLockError::WouldBlock) if self.at_once.is_some() => return Err(self.give_up()),
            Err(TryLockError::WouldBlock) => lock(&memo),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(memo) => memo,
        };
        let outcome = self.tree_by_memo(root, &mut memo);
        if memo.digests.is_empty() {
            self.walker.memos.forget(root);
        }
        outcome
    }

    fn tree_by_memo(&mut self, root: &Digest, memo: &mut Memo) -> Result<Vec<Digest>> {
        match memo.whole {
            Some((level, epoch))
                if epoch == self.found.epoch
                    && (level >= self.to || level >= self.fresh_from)
                    && level >= self.walker.blobs.waterline()
                    && self.shows.is_none()
                    && self.marks_for.is_none_or(|pass| memo.marked_in == pass) =>
            {
                self.found.raised_to = self.found.raised_to.min(level);
                self.found.unsynced.merge(&memo.unsynced);
                return Ok(Vec::new());
            }
            _ => {}
        }
        let before = std::mem::take(&mut self.found.unsynced);
        let outcome = if memo.digests.is_empty() {
            self.read_tree(root)
        } else {
            self.raise(&memo.digests).map(|missing| (Arc::clone(&memo.digests), missing))
        };
        let unsynced = std::mem::replace(&mut self.found.unsynced, before);
        self.found.unsynced.merge(&unsynced);
        let (digests, missing) = outcome?;
        self.count(digests.len(), root)?;
        if missing.is_empty() && self.shows.is_some() {
            // Nothing was raised, so all that was learnt is what the tree holds.
            self.walker.memos.weigh(root, digests.len());
            memo.digests = digests;
        } else if missing.is_empty() {
            self.walker.memos.weigh(root, digests.len());
            let marked_in = self.marks_for.unwrap_or(memo.marked_in);
            *memo = Memo { digests, whole: Some((self.to, self.found.epoch)), marked_in, unsynced };
        } else {
            memo.whole = None;
        }
        Ok(missing)
    }

    /// Breadth first, each blob once. Returns all that the tree reaches as far as it can be read, and the missing.
    fn read_tree(&mut self, root: &Digest) -> Result<(Arc<[Digest]>, Vec<Digest>)> {
        // Apart, since the content of a file may well be a Directory of the same tree.
        let (mut seen, mut seen_files) = (HashSet::from([*root]), HashSet::new());
        let mut all = vec![*root];
        let mut missing = Vec::new();
        let mut level = vec![*root];
        let Limits { tree_depth, closure_blobs, .. } = self.walker.limits();
        for _ in 0..=tree_depth {
            if level.is_empty() {
                return Ok((all.into(), missing));
            }
            let gone: HashSet<Digest> = self.raise(&level)?.into_iter().collect();
            missing.extend(&gone);
            let mut next = Vec::new();
            for directory in level.iter().filter(|directory| !gone.contains(directory)) {
                let Some(content) = self.read(directory)? else {
                    missing.push(*directory);
                    continue;
                };
                let mut found = children(directory, content)?;
                found.files.retain(|file| seen_files.insert(*file));
                found.directories.retain(|child| seen.insert(*child));
                missing.append(&mut self.raise(&found.files)?);
                all.append(&mut found.files);
                all.extend_from_slice(&found.directories);
                next.append(&mut found.directories);
                if self.walked + all.len() > closure_blobs {
                    return Err(too_many(root, closure_blobs));
                }
            }
            level = next;
        }
        Err(too_deep(root, tree_depth))
    }

    /// Counts what was walked of the whole closure, by all its trees.
    fn count(&mut self, blobs: usize, root: &Digest) -> Result<()> {
        self.walked += blobs;
        let most = self.walker.limits().closure_blobs;
        if self.walked > most { Err(too_many(root, most)) } else { Ok(()) }
    }

    fn note_missing(&mut self, digests: &[Digest]) {
        self.found.missing_count += digests.len() as u64;
        let room = MISSING_NAMED_MAX.saturating_sub(self.found.missing.len());
        self.found.missing.extend(digests.iter().take(room));
    }
}
