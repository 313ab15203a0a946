//! What the test projects are made of: trees of files and a tarball of each, made once in the build folder and
//! shared by all tests. Nothing of it changes from run to run, and no test writes to it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::bst;
use crate::tree::sha256;

/// To be raised when what is made here changes.
const EDITION: u32 = 3;
/// How many files there are in the tree `tiny`.
pub(crate) const TINY_FILES: usize = 60_000;
/// The length of the largest file: more than 64 MiB.
pub(crate) const LARGE: usize = 65 * 1024 * 1024 + 12_345;

/// Each tree: its name, and what fills it.
const TREES: [(&str, Fill); 6] = [
    ("assorted", assorted),
    ("large", large),
    ("bulk", bulk),
    ("tiny", tiny),
    ("small", small),
    ("busybox", busybox),
];

/// Puts files into an empty folder.
type Fill = fn(&Path);

/// The folder with all of it.
pub(crate) struct Content(PathBuf);

impl Content {
    /// Finds it, or makes it: one process at a time, and a half-made one is made again.
    pub(crate) fn get() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("content-{EDITION}"));
        let lock = File::create(folder.with_extension("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        if !folder.exists() {
            let unfinished = folder.with_extension("unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            for (name, fill) in TREES {
                let tree = unfinished.join("trees").join(name);
                fs::create_dir_all(&tree).unwrap();
                fill(&tree);
                pack(&unfinished, name);
            }
            fs::rename(unfinished, &folder).unwrap();
        }
        Self(folder)
    }

    /// A tree as it was before it was packed.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.0.join("trees").join(name)
    }

    /// The folder with the tarballs.
    pub(crate) fn tarballs(&self) -> PathBuf {
        self.0.join("tarballs")
    }

    /// The SHA-256 of a tarball, which is the `ref` of a tar source.
    pub(crate) fn tarball_sha256(&self, name: &str) -> String {
        sha256_of_file(&self.tarballs().join(format!("{name}.tar")))
    }
}

fn sha256_of_file(path: &Path) -> String {
    sha256(&fs::read(path).unwrap())
}

/// Packs a tree so that the tarball is the same wherever and whenever it is made.
fn pack(folder: &Path, name: &str) {
    fs::create_dir_all(folder.join("tarballs")).unwrap();
    let status = Command::new("tar")
        .args(["--create", "--sort=name", "--mtime=@1600000000", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--format=gnu", "--file"])
        .arg(folder.join(format!("tarballs/{name}.tar")))
        .arg("--directory")
        .arg(folder.join("trees"))
        .arg(name)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Several hundred files, and one of each thing that a tree can hold.
fn assorted(tree: &Path) {
    for folder in 0..12 {
        for file in 0..30 {
            let text = format!("file {file} of folder {folder}\n").repeat(1 + file * folder);
            write(&tree.join(format!("usr/share/folder-{folder}/deeper/file-{file}.txt")), text.as_bytes());
        }
    }
    write(&tree.join("usr/bin/program"), b"#!/bin/sh\necho program\n");
    fs::set_permissions(tree.join("usr/bin/program"), PermissionsExt::from_mode(0o755)).unwrap();
    write(&tree.join("usr/share/empty-file"), b"");
    fs::create_dir_all(tree.join("var/empty-directory")).unwrap();
    write(
        &tree.join(
            "usr/share/na\u{ef}ve \u{65e5}\u{672c}\u{8a9e}/\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}.txt",
        ),
        b"non-ASCII\n",
    );
    write(&tree.join("usr/share/copy-1"), b"the same bytes\n");
    write(&tree.join("usr/share/copy-2"), b"the same bytes\n");
    symlink("program", tree.join("usr/bin/relative-link")).unwrap();
    symlink("/usr/bin/program", tree.join("usr/bin/absolute-link")).unwrap();
    symlink("../nowhere/at-all", tree.join("usr/bin/dangling-link")).unwrap();
    symlink("share/folder-1", tree.join("usr/directory-link")).unwrap();
}

/// Files that no batch takes: one above 64 MiB, and one just above the largest message.
fn large(tree: &Path) {
    write(&tree.join("large.bin"), &noise(1, LARGE));
    write(&tree.join("five-megabytes.bin"), &noise(2, 5_000_000));
}

/// 80 MB in files that go up in batches.
fn bulk(tree: &Path) {
    for number in 0..800 {
        write(&tree.join(format!("{number:03}.bin")), &noise(100 + number, 100_000));
    }
}

/// 60 000 files of a few bytes, so many that the answer to one batch of them is much larger than the files: all at
/// one depth, which is what BuildStream 1 asks for together, and 20 000 of them in one directory.
fn tiny(tree: &Path) {
    for number in 0..TINY_FILES {
        let folder = if number < 20_000 { "wide".to_owned() } else { format!("narrow-{}", number / 1000) };
        write(&tree.join(folder).join(format!("{number:05}")), format!("{number:08}").as_bytes());
    }
}

/// One small file, for elements that differ in something else.
fn small(tree: &Path) {
    write(&tree.join("small.txt"), b"a small file\n");
}

/// The whole root of a sandbox: a shell and the tools that it needs.
fn busybox(tree: &Path) {
    let program = bst::clients_folder().join("busybox");
    let bytes = fs::read(&program)
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/test-clients", program.display()));
    write(&tree.join("bin/busybox"), &bytes);
    fs::set_permissions(tree.join("bin/busybox"), PermissionsExt::from_mode(0o755)).unwrap();
    for tool in ["sh", "cat", "cp", "echo", "false", "mkdir", "test", "rm", "ls", "seq", "head"] {
        symlink("busybox", tree.join("bin").join(tool)).unwrap();
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(content).unwrap();
}

/// Bytes that do not repeat or compress, the same in every run (xorshift).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
