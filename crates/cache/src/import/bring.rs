//! Bringing the blobs of closures: what is not here is read there, hashed as any upload is, and kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millpond_store::{Digest, Error as StoreError};
use tokio::task::JoinSet;

use super::coming::Coming;
use super::intake::{Intake, SMALL, groups};
use super::lacking::{Lack, Lacking, NOT_THERE, OTHER_BYTES};
use super::source::{Had, Source};
use super::{Found, blocking};
use crate::cache::Inner;
use crate::closure::{
    Children, MESSAGE_BYTES_MAX, Parts, Roots, Subject, children, files_of_tree_message, roots_of,
};
use crate::{Error, Limits, Result};

/// Trees that are remembered as brought: their parents need no look at them.
const TREES_MAX: usize = 1 << 20;
/// Groups of blobs of one closure that are under way, waiting for their turn among them.
const UNDER_WAY: usize = 8;

/// Brings closures. Several at the same time go together.
#[derive(Debug)]
pub(super) struct Bringing {
    inner: Arc<Inner>,
    intake: Intake,
    coming: Coming,
    dry_run: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of a dry run: what would have come by now.
    counted: HashSet<Digest>,
    /// Directories whose trees are here, or would be.
    trees: HashSet<Digest>,
    blobs: u64,
    bytes: u64,
}

impl State {
    fn came(&mut self, digest: &Digest) {
        self.blobs += 1;
        // Of a dry run, another server may make sizes up.
        self.bytes = self.bytes.saturating_add(digest.size());
    }
}

impl Bringing {
    pub(super) fn new(inner: Arc<Inner>, source: Source, dry_run: bool) -> Self {
        let intake = Intake::new(Arc::clone(&inner), source);
        Self { inner, intake, coming: Coming::default(), dry_run, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what it remembers of what came.
    pub(super) fn forget(&self) {
        self.state().trees = HashSet::new();
    }

    pub(super) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Blobs, and bytes of them, that came by now, or would have.
    pub(super) fn brought(&self) -> (u64, u64) {
        let state = self.state();
        (state.blobs, state.bytes)
    }

    /// Brings all that a name needs, and of what it has beside that as much as is there.
    pub(super) async fn closure(&self, subject: &Subject) -> Result<Found<()>> {
        let mut lacking = Lacking::default();
        let content = match subject.message() {
            None => None,
            Some(message) => {
                self.bring(&[message], &mut lacking).await?;
                match self.content(&message, &mut lacking).await? {
                    None => return Ok(lacking.or_ok()),
                    content => content,
                }
            }
        };
        let read = subject.clone();
        let Roots { required, optional } = match blocking(move || roots_of(&read, content)).await? {
            Ok(roots) => roots,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Err(why) = self.parts(&required, &mut lacking).await? {
            return Ok(Err(why));
        }
        if lacking.count() > 0 {
            return Ok(lacking.or_ok());
        }
        let _ = self.parts(&optional, &mut lacking).await?;
        Ok(lacking.or_ok_if_gone())
    }

    async fn parts(&self, parts: &Parts, lacking: &mut Lacking) -> Result<Found<()>> {
        self.bring(&parts.blobs, lacking).await?;
        self.bring(&parts.tree_messages, lacking).await?;
        for message in &parts.tree_messages {
            let Some(content) = self.content(message, lacking).await? else { continue };
            let read = *message;
            match blocking(move || files_of_tree_message(&read, content)).await? {
                Ok(files) => self.bring(&files, lacking).await?,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        // A bad tree is no reason to leave out those behind it, where they are wanted as far as they can be had.
        let mut found = Ok(());
        for root in &parts.trees {
            let tree = self.tree(root, lacking).await?;
            found = found.and(tree);
        }
        Ok(found)
    }

    /// Breadth first, so that what is asked for together is as much as can be. Not by GetTree: that would read again what is
    /// here, and not all servers have it.
    async fn tree(&self, root: &Digest, lacking: &mut Lacking) -> Result<Found<()>> {
        let (mut level, mut seen, before) = (vec![*root], Vec::new(), lacking.met());
        let mut of_files = 0;
        let Limits { tree_depth, closure_blobs, .. } = self.inner.walker.limits();
        for _ in 0..=tree_depth {
            {
                let known = &self.state().trees;
                level.retain(|directory| !known.contains(directory));
            }
            level.sort_unstable();
            level.dedup();
            if level.is_empty() {
                let state = &mut *self.state();
                if lacking.met() == before && state.trees.len() + seen.len() <= TREES_MAX {
                    state.trees.extend(seen);
                }
                return Ok(Ok(()));
            }
            self.inner.go_on()?;
            self.bring(&level, lacking).await?;
            let (mut files, mut next) = (Vec::new(), Vec::new());
            for group in groups(&level) {
                let contents = self.contents(group, lacking).await?;
                let read = move || {
                    let read = |(directory, content)| children(&directory, content);
                    contents.into_iter().map(read).collect::<Result<Vec<_>>>()
                };
                match blocking(read).await? {
                    Ok(found) => {
                        for Children { files: more, directories } in found {
                            files.extend(more);
                            next.extend(directories);
                        }
                    }
                    Err(error) => return Ok(Err(error.to_string())),
                }
                // Of what is met several times, once is counted.
                if seen.len() + next.len() + of_files + files.len() > closure_blobs {
                    files.sort_unstable();
                    files.dedup();
                    next.sort_unstable();
                    next.dedup();
                }
                if seen.len() + next.len() + of_files + files.len() > closure_blobs {
                    return Ok(Err(format!("the tree {root} has more than {closure_blobs} blobs")));
                }
            }
            of_files += files.len();
            self.bring(&files, lacking).await?;
            seen.append(&mut level);
            level = next;
        }
        Ok(Err(format!("the tree {root} is nested deeper than {tree_depth} directories")))
    }

    /// A message, verified; `None` if it cannot be had, which was noted.
    async fn content(&self, digest: &Digest, lacking: &mut Lacking) -> Result<Option<Bytes>> {
        let mut contents = self.contents(vec![*digest], lacking).await?;
        Ok(contents.pop().map(|(_, content)| content))
    }

    /// The same of several, without those that cannot be had.
    async fn contents(&self, group: Vec<Digest>, lacking: &mut Lacking) -> Result<Vec<(Digest, Bytes)>> {
        let (group, large): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|digest| digest.size() <= MESSAGE_BYTES_MAX);
        for digest in large {
            lacking.add(digest, Lack::Gone("is larger than any message"));
        }
        let inner = Arc::clone(&self.inner);
        let peek = move |digest: Digest| match inner.blobs.peek_small(&digest) {
            Err(StoreError::Missing) => Ok((digest, None)),
            read => read.map(|content| (digest, Some(content))),
        };
        let here = blocking(move || group.into_iter().map(peek).collect::<Result<Vec<_>, _>>()).await??;
        let (mut contents, mut missing) = (Vec::with_capacity(here.len()), Vec::new());
        for (digest, content) in here {
            match content {
                Some(content) => contents.push((digest, content)),
                None => missing.push(digest),
            }
        }
        if self.dry_run && !missing.is_empty() {
            let had = self.intake.source().read_whole(std::mem::take(&mut missing)).await?;
            let hash = |(digest, had): (Digest, Had<Bytes>)| {
                let is_it = |content: &Bytes| Digest::of(content) == digest;
                (digest, had.map(|had| had.filter(is_it)))
            };
            let hashed: Vec<_> = blocking(move || had.into_iter().map(hash).collect()).await?;
            for (digest, had) in hashed {
                match had {
                    Ok(Some(content)) => contents.push((digest, content)),
                    Ok(None) => missing.push(digest),
                    Err(why) => lacking.add(digest, Lack::Unknown(why)),
                }
            }
        }
        for digest in missing {
            lacking.add(digest, Lack::Gone(OTHER_BYTES));
        }
        Ok(contents)
    }

    /// Brings those of these blobs that are not here. Those that are stay for the lease.
    async fn bring(&self, digests: &[Digest], lacking: &mut Lacking) -> Result<()> {
        let mut missing = self.missing(digests);
        if self.dry_run {
            missing.retain({
                let state = self.state();
                move |digest| !state.counted.contains(digest)
            });
            return self.count(missing, lacking).await;
        }
        while !missing.is_empty() {
            let (mine, others) = self.coming.claim(missing);
            self.take(&mine.digests, lacking).await?;
            drop(mine);
            self.coming.none_of(&others).await;
            // What did not come by others is tried once more.
            missing = self.missing(&others);
        }
        Ok(())
    }

    /// Those that are not here, each once.
    fn missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let (blobs, mut missing) = (&self.inner.blobs, Vec::new());
        if self.dry_run {
            missing.extend(digests.iter().filter(|digest| !blobs.contains(digest)));
        } else {
            blobs.missing(digests, self.inner.clock.now(), self.inner.gate.fresh_from(), &mut missing);
        }
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    async fn take(&self, digests: &[Digest], lacking: &mut Lacking) -> Result<()> {
        let (small, large): (Vec<_>, Vec<_>) = digests.iter().partition(|digest| digest.size() <= SMALL);
        let groups = groups(&small).into_iter().chain(large.into_iter().map(|digest| vec![digest]));
        let mut under_way = JoinSet::new();
        for group in groups {
            if under_way.len() >= UNDER_WAY
                && let Some(taken) = under_way.join_next().await
            {
                self.note(taken.map_err(Error::internal)??, lacking);
            }
            under_way.spawn(self.intake.clone().take(group));
        }
        while let Some(taken) = under_way.join_next().await {
            self.note(taken.map_err(Error::internal)??, lacking);
        }
        Ok(())
    }

    fn note(&self, taken: Vec<super::intake::Taken>, lacking: &mut Lacking) {
        let mut state = self.state();
        for (digest, outcome) in taken {
            match outcome {
                Ok(()) => state.came(&digest),
                Err(lack) => lacking.add(digest, lack),
            }
        }
    }

    async fn count(&self, missing: Vec<Digest>, lacking: &mut Lacking) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        for (digest, had) in self.intake.source().are_there(missing).await? {
            match had {
                Ok(Some(())) => {
                    let state = &mut *self.state();
                    if state.counted.insert(digest) {
                        state.came(&digest);
                    }
                }
                Ok(None) => lacking.add(digest, Lack::Gone(NOT_THERE)),
                Err(why) => lacking.add(digest, Lack::Unknown(why)),
            }
        }
        Ok(())
    }
}
