//! Trees of directories.

use millpond_proto::reapi::{Directory, DirectoryNode, FileNode, SymlinkNode, Tree as TreeMessage};
use prost::Message;

use super::content::{self, Blob};
use super::random::Random;

/// A tree with all its blobs.
#[derive(Clone)]
pub(crate) struct Tree {
    /// The `Directory` blobs, the root first.
    pub directories: Vec<Blob>,
    pub files: Vec<Blob>,
    messages: Vec<Directory>,
}

impl Tree {
    pub(crate) fn new(random: &mut Random, project: u64) -> Self {
        let mut tree = Self { directories: Vec::new(), files: Vec::new(), messages: Vec::new() };
        tree.add(random, project, 0);
        tree.directories.reverse();
        tree.messages.reverse();
        tree
    }

    pub(crate) fn root(&self) -> &Blob {
        &self.directories[0]
    }

    /// The same as one message, as action results have it.
    pub(crate) fn as_message(&self) -> Blob {
        let root = self.messages.first().cloned();
        let children = self.messages[1..].to_vec();
        Blob::new(TreeMessage { root, children }.encode_to_vec())
    }

    /// Adds a directory behind all that hang below it.
    fn add(&mut self, random: &mut Random, project: u64, depth: u64) -> DirectoryNode {
        let mut directory = Directory::default();
        for number in 0..random.below(if depth == 0 { 4 } else { 7 }) {
            let blob = content::file(random, project);
            let digest = Some(blob.digest.clone());
            let is_executable = random.one_in(6);
            directory.files.push(FileNode {
                name: format!("file-{number}"),
                digest,
                is_executable,
                ..Default::default()
            });
            self.files.push(blob);
        }
        for number in 0..random.below(4 - depth.min(3)) {
            let mut node = self.add(random, project, depth + 1);
            node.name = format!("folder-{number}-é");
            directory.directories.push(node);
        }
        if random.one_in(5) {
            let link = SymlinkNode { name: "link".into(), target: "file-0".into(), ..Default::default() };
            directory.symlinks.push(link);
        }
        let blob = Blob::new(directory.encode_to_vec());
        let digest = Some(blob.digest.clone());
        self.directories.push(blob);
        self.messages.push(directory);
        DirectoryNode { name: String::new(), digest }
    }
}
