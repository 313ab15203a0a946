//! What is in a tree, directory by directory: for looking at what was pushed.

use bytes::Bytes;
use millpond_proto::reapi::Directory;
use millpond_store::Digest;
use prost::Message;

use super::artifact;
use crate::closure::{MESSAGE_BYTES_MAX, too_deep, wire_digest};
use crate::{Admin, Cache, Error, Permit, Pull, Result};

/// Directories that may wait to be listed, ...
const AHEAD_MAX: usize = 1 << 20;
/// ... and the bytes of their paths.
const AHEAD_BYTES_MAX: usize = 64 << 20;

/// What an entry of a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file, and whether it may be executed.
    File {
        /// Its content.
        digest: Digest,
        /// It may be executed.
        executable: bool,
    },
    /// A directory.
    Directory {
        /// Its message.
        digest: Digest,
    },
    /// A symbolic link.
    Link {
        /// To there.
        target: String,
    },
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// From where the walk began.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
}

/// A walk through a tree, depth first.
#[derive(Debug)]
pub struct DirectoryWalk {
    cache: Cache,
    permit: Permit<Pull>,
    /// Directories to be listed, the next one last: the path that is before their entries, how deep they are, and which.
    ahead: Vec<(String, usize, Digest)>,
    /// Bytes of their paths.
    ahead_bytes: usize,
    recursive: bool,
}

impl DirectoryWalk {
    /// The entries of the next directory, each with its path; `None` at the end.
    ///
    /// # Errors
    /// `NotFound` if the directory is not there, `Invalid` if it is none.
    pub async fn next_page(&mut self) -> Result<Option<Vec<DirectoryEntry>>> {
        let Some((before, depth, digest)) = self.ahead.pop() else { return Ok(None) };
        self.ahead_bytes -= before.len();
        let most = self.cache.inner.walker.limits().tree_depth;
        if depth > most {
            return Err(too_deep(&before, most));
        }
        let directory = self.cache.directory(&self.permit, &digest).await?;
        let entries = entries(&directory, &digest, &before)?;
        if self.recursive {
            let below = entries.iter().rev().filter_map(|entry| match &entry.kind {
                EntryKind::Directory { digest } => Some((format!("{}/", entry.path), depth + 1, *digest)),
                EntryKind::File { .. } | EntryKind::Link { .. } => None,
            });
            for directory in below {
                self.ahead_bytes += directory.0.len();
                self.ahead.push(directory);
            }
            if self.ahead.len() > AHEAD_MAX || self.ahead_bytes > AHEAD_BYTES_MAX {
                let sentence =
                    format!("{digest} has too many directories to be listed at once: list a part of it");
                return Err(Error::Invalid(sentence));
            }
        }
        Ok(Some(entries))
    }
}

/// The entries of a directory by their names.
fn entries(directory: &Directory, holder: &Digest, before: &str) -> Result<Vec<DirectoryEntry>> {
    let digest = |digest| {
        wire_digest(digest)
            .ok()
            .flatten()
            .ok_or_else(|| Error::Invalid(format!("directory {holder} holds a node with a bad digest")))
    };
    let mut entries = Vec::new();
    for file in &directory.files {
        let kind = EntryKind::File { digest: digest(file.digest.as_ref())?, executable: file.is_executable };
        entries.push(DirectoryEntry { path: format!("{before}{}", file.name), kind });
    }
    for child in &directory.directories {
        let kind = EntryKind::Directory { digest: digest(child.digest.as_ref())? };
        entries.push(DirectoryEntry { path: format!("{before}{}", child.name), kind });
    }
    for link in &directory.symlinks {
        let kind = EntryKind::Link { target: link.target.clone() };
        entries.push(DirectoryEntry { path: format!("{before}{}", link.name), kind });
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

impl Cache {
    async fn directory(&self, permit: &Permit<Pull>, digest: &Digest) -> Result<Directory> {
        let none = || Error::Invalid(format!("{digest} is no Directory, Artifact or Source message"));
        if digest.size() > MESSAGE_BYTES_MAX {
            return Err(none());
        }
        let read: Option<Result<Bytes>> = self.read_blobs(permit, std::slice::from_ref(digest)).await.pop();
        let content = read.unwrap_or_else(|| Err(Error::NotFound(format!("directory {digest}"))))?;
        match Directory::decode(content.clone()) {
            Ok(directory) => Ok(directory),
            Err(_) => {
                artifact::as_directory(content, |digest| self.inner.blobs.contains(digest)).ok_or_else(none)
            }
        }
    }

    /// Lists what is at `path` in the tree of `root`, or the tree itself if that is empty; with what is below if it is to
    /// be `recursive`. Of an artifact or a source its trees and blobs are listed, as if they lay in a directory. What is listed stays for the lease, as everything that is read.
    ///
    /// # Errors
    /// `NotFound` if there is nothing at that path, `Invalid` if `root` is no tree.
    pub async fn list_directory(
        &self,
        permit: &Permit<Admin>,
        root: Digest,
        path: &str,
        recursive: bool,
    ) -> Result<(DirectoryWalk, Option<DirectoryEntry>)> {
        let permit = permit.to_pull();
        let (mut at, mut found) = (root, None);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let nothing = || Error::NotFound(format!("{path} in {root}"));
            // Nothing is below a file or a link.
            if found.is_some() {
                return Err(nothing());
            }
            let listed = entries(&self.directory(&permit, &at).await?, &at, "")?;
            let entry = listed.into_iter().find(|entry| entry.path == name).ok_or_else(nothing)?;
            match entry.kind {
                EntryKind::Directory { digest } => at = digest,
                EntryKind::File { .. } | EntryKind::Link { .. } => found = Some(entry),
            }
        }
        let ahead = if found.is_some() { Vec::new() } else { vec![(String::new(), 0, at)] };
        let walk = DirectoryWalk { cache: self.clone(), permit, ahead, ahead_bytes: 0, recursive };
        Ok((walk, found))
    }
}
