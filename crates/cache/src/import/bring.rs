//! Bringing the blobs of closures: what is not here is read there, hashed as any upload is, and kept.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond_store::{Digest, Error as StoreError, Held};

use super::objects::Objects;
use super::{Found, blocking};
use crate::cache::Inner;
use crate::closure::{MESSAGE_BYTES_MAX, Parts, Roots, Subject, children, files_of_tree_message, roots_of};
use crate::{Limits, Result};

/// Blobs up to this size are read whole, many at a time.
const SMALL: u64 = 1 << 20;
/// Bytes of small blobs that are read at a time, and how many.
const TOGETHER_BYTES: u64 = 8 << 20;
const TOGETHER: usize = 512;
/// Bytes of a large blob that are read at a time.
const PIECE: usize = 1 << 20;
/// For so long an import waits for room: until the lease is as short as it may get.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so long it tries again.
const PAUSE: Duration = Duration::from_secs(2);
/// Trees that are remembered as brought: their parents need no look at them.
const TREES_MAX: usize = 1 << 20;

/// Brings closures, one after the other.
#[derive(Debug)]
pub(super) struct Bringing {
    inner: Arc<Inner>,
    objects: Objects,
    dry_run: bool,
    /// Of a dry run: what would have come by now.
    counted: HashSet<Digest>,
    /// Directories whose trees are here, or would be.
    trees: HashSet<Digest>,
    blobs: u64,
    bytes: u64,
}

/// What could not be brought.
#[derive(Debug, Default)]
struct Lacking {
    first: Option<(Digest, &'static str)>,
    count: u64,
}

impl Lacking {
    fn add(&mut self, digest: Digest, why: &'static str) {
        self.first.get_or_insert((digest, why));
        self.count += 1;
    }

    fn or_ok(&self) -> Found<()> {
        match &self.first {
            None => Ok(()),
            Some((digest, why)) if self.count == 1 => Err(format!("it needs {digest}, which {why}")),
            Some((digest, why)) => Err(format!(
                "it needs {} blobs that cannot be had, among them {digest}, which {why}",
                self.count
            )),
        }
    }
}

const NOT_THERE: &str = "is not there, or has another size";
const OTHER_BYTES: &str = "has other bytes there";

impl Bringing {
    pub(super) fn new(inner: Arc<Inner>, objects: Objects, dry_run: bool) -> Self {
        Self { inner, objects, dry_run, counted: HashSet::new(), trees: HashSet::new(), blobs: 0, bytes: 0 }
    }

    /// Forgets what it remembers of what came.
    pub(super) fn forget(&mut self) {
        self.trees = HashSet::new();
    }

    pub(super) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Blobs, and bytes of them, that came by now, or would have.
    pub(super) fn brought(&self) -> (u64, u64) {
        (self.blobs, self.bytes)
    }

    /// Brings all that a name needs, and of what it has beside that as much as is there.
    pub(super) async fn closure(&mut self, subject: &Subject) -> Result<Found<()>> {
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
        let Roots { required, optional } = match roots_of(subject, content) {
            Ok(roots) => roots,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Err(why) = self.parts(&required, &mut lacking).await? {
            return Ok(Err(why));
        }
        if lacking.count > 0 {
            return Ok(lacking.or_ok());
        }
        // It may lack any of that.
        let _ = self.parts(&optional, &mut Lacking::default()).await?;
        Ok(Ok(()))
    }

    async fn parts(&mut self, parts: &Parts, lacking: &mut Lacking) -> Result<Found<()>> {
        self.bring(&parts.blobs, lacking).await?;
        self.bring(&parts.tree_messages, lacking).await?;
        for message in &parts.tree_messages {
            let Some(content) = self.content(message, lacking).await? else { continue };
            match files_of_tree_message(message, content) {
                Ok(files) => self.bring(&files, lacking).await?,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        for root in &parts.trees {
            if let Err(why) = self.tree(root, lacking).await? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    /// Breadth first.
    async fn tree(&mut self, root: &Digest, lacking: &mut Lacking) -> Result<Found<()>> {
        let (mut level, mut seen, before) = (vec![*root], Vec::new(), lacking.count);
        let Limits { tree_depth, closure_blobs, .. } = self.inner.walker.limits;
        for _ in 0..=tree_depth {
            level.retain(|directory| !self.trees.contains(directory));
            level.sort_unstable();
            level.dedup();
            if level.is_empty() {
                if lacking.count == before && self.trees.len() + seen.len() <= TREES_MAX {
                    self.trees.extend(seen);
                }
                return Ok(Ok(()));
            }
            self.inner.go_on()?;
            self.bring(&level, lacking).await?;
            let (mut files, mut next) = (Vec::new(), Vec::new());
            for directory in &level {
                let Some(content) = self.content(directory, lacking).await? else { continue };
                match children(directory, content) {
                    Ok(found) => {
                        files.extend(found.files);
                        next.extend(found.directories);
                    }
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            self.bring(&files, lacking).await?;
            seen.append(&mut level);
            if seen.len() + next.len() > closure_blobs {
                return Ok(Err(format!("the tree {root} has more than {closure_blobs} directories")));
            }
            level = next;
        }
        Ok(Err(format!("the tree {root} is nested deeper than {tree_depth} directories")))
    }

    /// A message, verified; `None` if it cannot be had, which was noted.
    async fn content(&self, digest: &Digest, lacking: &mut Lacking) -> Result<Option<Bytes>> {
        if digest.size() > MESSAGE_BYTES_MAX {
            lacking.add(*digest, "is larger than any message");
            return Ok(None);
        }
        let (inner, objects, wanted, dry_run) =
            (Arc::clone(&self.inner), self.objects.clone(), *digest, self.dry_run);
        let read = move || match inner.blobs.peek_small(&wanted) {
            Err(StoreError::Missing) if dry_run => {
                let content = objects.read(&wanted).ok().flatten();
                Ok(content.filter(|content| Digest::of(content) == wanted))
            }
            Err(StoreError::Missing) => Ok(None),
            read => read.map(Some),
        };
        let content = blocking(read).await??;
        if content.is_none() && lacking.first.as_ref().is_none_or(|(first, _)| first != digest) {
            lacking.add(*digest, OTHER_BYTES);
        }
        Ok(content)
    }

    /// Brings those of these blobs that are not here. Those that are stay for the lease.
    async fn bring(&mut self, digests: &[Digest], lacking: &mut Lacking) -> Result<()> {
        let mut missing = Vec::new();
        let blobs = &self.inner.blobs;
        if self.dry_run {
            missing.extend(digests.iter().filter(|digest| !blobs.contains(digest)));
        } else {
            blobs.missing(digests, self.inner.clock.now(), self.inner.gate.fresh_from(), &mut missing);
        }
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|digest| !self.counted.contains(digest));
        if self.dry_run {
            return self.count(missing, lacking).await;
        }
        let (small, large): (Vec<_>, Vec<_>) = missing.into_iter().partition(|digest| digest.size() <= SMALL);
        let mut rest = &small[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |digest: &&Digest| {
                bytes += digest.size();
                bytes <= TOGETHER_BYTES
            };
            let count = rest.iter().take(TOGETHER).take_while(fits).count().max(1);
            let (some, more) = rest.split_at(count);
            self.bring_small(some.to_vec(), lacking).await?;
            rest = more;
        }
        for digest in large {
            self.bring_large(digest, lacking).await?;
        }
        Ok(())
    }

    async fn count(&mut self, missing: Vec<Digest>, lacking: &mut Lacking) -> Result<()> {
        let objects = self.objects.clone();
        let look = move || -> Vec<(Digest, bool)> {
            let is_there = |digest: &Digest| objects.open(digest).is_ok_and(|file| file.is_some());
            missing.into_iter().map(|digest| (digest, is_there(&digest))).collect()
        };
        for (digest, is_there) in blocking(look).await? {
            if is_there {
                self.counted.insert(digest);
                self.blobs += 1;
                self.bytes += digest.size();
            } else {
                lacking.add(digest, NOT_THERE);
            }
        }
        Ok(())
    }

    async fn bring_small(&mut self, digests: Vec<Digest>, lacking: &mut Lacking) -> Result<()> {
        let objects = self.objects.clone();
        let read =
            move || -> Vec<_> { digests.into_iter().map(|digest| (digest, objects.read(&digest))).collect() };
        let mut blobs = Vec::new();
        for (digest, content) in blocking(read).await? {
            match content {
                Ok(Some(content)) => blobs.push((digest, content)),
                Ok(None) | Err(_) => lacking.add(digest, NOT_THERE),
            }
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let outcomes = self.inner.blobs.put_many(blobs.clone()).await;
            let mut again = Vec::new();
            for ((digest, content), outcome) in blobs.into_iter().zip(outcomes) {
                if is_for_room(&outcome) && Instant::now() < end {
                    again.push((digest, content));
                } else {
                    self.brought_one(digest, outcome, lacking)?;
                }
            }
            if again.is_empty() {
                return Ok(());
            }
            self.inner.go_on()?;
            blobs = again;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn bring_large(&mut self, digest: Digest, lacking: &mut Lacking) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let outcome = self.upload(digest, lacking).await?;
            let Some(outcome) = outcome else { return Ok(()) };
            if !is_for_room(&outcome) || Instant::now() > end {
                return self.brought_one(digest, outcome, lacking);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What an upload came to; `None` if there is nothing to upload, which was noted.
    async fn upload(
        &self,
        digest: Digest,
        lacking: &mut Lacking,
    ) -> Result<Option<millpond_store::Result<()>>> {
        let objects = self.objects.clone();
        let Ok(Some(mut file)) = blocking(move || objects.open(&digest)).await? else {
            lacking.add(digest, NOT_THERE);
            return Ok(None);
        };
        let mut upload = match self.inner.blobs.create(digest).await {
            Ok(upload) => upload,
            Err(error) => return Ok(Some(Err(error))),
        };
        loop {
            self.inner.go_on()?;
            let (piece, again) = blocking(move || (piece(&mut file), file)).await?;
            file = again;
            let Ok(piece) = piece else {
                lacking.add(digest, "cannot be read there");
                return Ok(None);
            };
            if piece.is_empty() {
                break;
            }
            if let Err(error) = upload.write(piece).await {
                return Ok(Some(Err(error)));
            }
        }
        Ok(Some(upload.finish().await))
    }

    /// Whatever is wrong with the bytes is told of the name; all else ends the import.
    fn brought_one(
        &mut self,
        digest: Digest,
        outcome: millpond_store::Result<()>,
        lacking: &mut Lacking,
    ) -> Result<()> {
        match outcome {
            Ok(()) => {
                self.blobs += 1;
                self.bytes += digest.size();
            }
            Err(StoreError::Mismatch(_)) => lacking.add(digest, OTHER_BYTES),
            Err(StoreError::TooLarge { .. }) => lacking.add(digest, "is larger than this cache takes"),
            Err(error) => return Err(self.inner.refusal(error)),
        }
        Ok(())
    }
}

/// Whether it is refused for want of room, which may be there once leases are over or shorter.
fn is_for_room(outcome: &millpond_store::Result<()>) -> bool {
    matches!(outcome, Err(StoreError::NoSpace { held: Held::Limit | Held::Lease, .. }))
}

/// The next bytes of a file; none at its end.
fn piece(file: &mut File) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}
