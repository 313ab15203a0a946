//! Two trees of files, compared byte for byte: names, kinds, permissions, contents, targets of symbolic links.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// How many differences a failure shows.
const SHOWN: usize = 20;

/// What is at one path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A directory and its permissions.
    Directory(u32),
    /// A file, its permissions, length and hash.
    File(u32, usize, String),
    /// A symbolic link and its target, which need not be there.
    Link(PathBuf),
}

/// Everything under `root`, by path relative to it.
pub(crate) fn listing(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    list_into(root, Path::new(""), &mut found);
    found
}

fn list_into(root: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        let path = root.join(&name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let permissions = metadata.permissions().mode() & 0o7777;
        if metadata.is_dir() {
            list_into(root, &name, found);
            found.insert(name, Entry::Directory(permissions));
        } else if metadata.is_symlink() {
            found.insert(name, Entry::Link(fs::read_link(&path).unwrap()));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(name, Entry::File(permissions, content.len(), sha256(&content)));
        }
    }
}

/// Fails, naming the paths, unless both trees are the same.
pub(crate) fn assert_same(expected: &Path, found: &Path) {
    let (expected, found) = (listing(expected), listing(found));
    let mut differences = Vec::new();
    for (path, entry) in &expected {
        match found.get(path) {
            None => differences.push(format!("{path:?} is missing, should be {entry:?}")),
            Some(other) if other != entry => {
                differences.push(format!("{path:?} is {other:?}, should be {entry:?}"));
            }
            Some(_) => {}
        }
    }
    differences.extend(
        found
            .iter()
            .filter(|(path, _)| !expected.contains_key(*path))
            .map(|(path, _)| format!("{path:?} is extra")),
    );
    assert!(!expected.is_empty(), "a comparison with nothing");
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
