//! GetTree: the directories of a tree, each once, breadth first, in pages of bounded size.
//!
//! The order follows from the tree alone, so that a page token is a number: how many directories came before.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use millpond_store::Digest;

use crate::closure::{MESSAGE_BYTES_MAX, children};
use crate::{Cache, Error, Permit, Pull, Result};

/// Bytes of directories in a page, but for a single directory that is larger.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// Directories in a page where the client leaves it to us.
const PAGE_DIRECTORIES: usize = 10_000;
/// Directories of one tree; the rest is left out of the answer by an error.
const TREE_DIRECTORIES_MAX: usize = 2_000_000;

/// One page of a tree.
#[derive(Debug)]
pub struct TreePage {
    /// Serialised `Directory` messages as they lie in the store: never decoded and encoded again.
    pub directories: Vec<Bytes>,
    /// How many directories come before the next page; `None` at the end. It makes a page token.
    pub next: Option<u64>,
}

/// A walk through a tree, page by page.
#[derive(Debug)]
pub struct TreeWalk {
    cache: Cache,
    permit: Permit<Pull>,
    root: Digest,
    seen: HashSet<Digest>,
    ahead: VecDeque<Digest>,
    /// Read, but no room for them in the page before.
    read: VecDeque<Bytes>,
    skip: u64,
    given: u64,
    page_size: usize,
}

impl TreeWalk {
    /// The next page: at most the page size asked for and about 2 MiB, but at least one directory. `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<TreePage>> {
        let mut page = TreePage { directories: Vec::new(), next: None };
        let mut bytes = 0;
        while page.directories.len() < self.page_size {
            if self.read.is_empty() && !self.read_ahead().await? {
                break;
            }
            let Some(directory) = self.read.front() else { continue };
            if self.skip > 0 {
                self.skip -= 1;
                self.read.pop_front();
                continue;
            }
            bytes += directory.len();
            if bytes > PAGE_BYTES_MAX && !page.directories.is_empty() {
                break;
            }
            page.directories.extend(self.read.pop_front());
        }
        self.given += page.directories.len() as u64;
        page.next = (!self.ahead.is_empty() || !self.read.is_empty()).then_some(self.given);
        Ok((!page.directories.is_empty()).then_some(page))
    }

    /// Reads the next directories in one batch; false at the end.
    async fn read_ahead(&mut self) -> Result<bool> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(digest) = self.ahead.front().copied() {
            bytes += digest.size();
            if !batch.is_empty() && (bytes > PAGE_BYTES_MAX as u64 || batch.len() >= self.page_size) {
                break;
            }
            self.ahead.pop_front();
            if digest.size() <= MESSAGE_BYTES_MAX {
                batch.push(digest);
            }
        }
        if batch.is_empty() {
            return Ok(false);
        }
        let contents = self.cache.read_blobs(&self.permit, &batch).await;
        for (digest, content) in batch.iter().zip(contents) {
            match content {
                Ok(content) => self.take_in(digest, content)?,
                Err(Error::NotFound(_)) if *digest != self.root => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn take_in(&mut self, digest: &Digest, content: Bytes) -> Result<()> {
        match children(digest, content.clone()) {
            Ok(found) => {
                let new = found.directories.into_iter().filter(|child| self.seen.insert(*child));
                self.ahead.extend(new);
            }
            // A tree without a root is no tree.
            Err(_) if *digest == self.root => {
                return Err(Error::NotFound(format!("a directory {digest}")));
            }
            Err(error) => {
                tracing::debug!(%digest, %error, "left out of a tree");
                return Ok(());
            }
        }
        self.read.push_back(content);
        if self.seen.len() > TREE_DIRECTORIES_MAX {
            return Err(Error::Invalid(format!(
                "the tree {} has more than {TREE_DIRECTORIES_MAX} directories: ask for its parts",
                self.root
            )));
        }
        Ok(())
    }
}

impl Cache {
    /// Walks the tree of `root`, leaving out the first `skip` directories. A missing root is `NotFound`; a missing
    /// child is left out, as REAPI's `GetTree` has it. `page_size` 0 leaves the size to us.
    pub async fn tree(
        &self,
        permit: &Permit<Pull>,
        root: Digest,
        skip: u64,
        page_size: usize,
    ) -> Result<TreeWalk> {
        if root.size() > MESSAGE_BYTES_MAX || !self.has_blob(permit, &root)? {
            return Err(Error::NotFound(format!("directory {root}")));
        }
        let page_size = if page_size == 0 { PAGE_DIRECTORIES } else { page_size.min(PAGE_DIRECTORIES) };
        Ok(TreeWalk {
            cache: self.clone(),
            permit: permit.clone(),
            root,
            seen: HashSet::from([root]),
            ahead: VecDeque::from([root]),
            read: VecDeque::new(),
            skip,
            given: skip,
            page_size,
        })
    }
}
