//! GetTree: the directories of a tree, each once, breadth first, in pages of bounded size.

use bytes::Bytes;
use millpond_store::Digest;

use crate::{Cache, Permit, Pull, Result};

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
pub struct TreeWalk {}

impl TreeWalk {
    /// The next page: at most the page size asked for and about 2 MiB, but at least one directory. `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<TreePage>> {
        todo!()
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
        let _ = (permit, root, skip, page_size);
        todo!()
    }
}
