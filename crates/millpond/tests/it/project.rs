//! A BuildStream project for the tests, in the dialect of either generation.
//!
//! Everything comes from tarballs behind the alias `files:`. [`Project::take_sources_away`] points that alias at
//! nothing, without changing any cache key, so that neither a fetch nor a build can stand in for a pull.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::bst::Generation;
use crate::content::Content;
use crate::tree;

/// The elements that [`Project::new`] writes, in the stack `all.bst`.
pub(crate) const IMPORTS: [&str; 3] = ["assorted", "large", "small"];

/// A project directory that goes away with the test.
pub(crate) struct Project {
    content: Content,
    generation: Generation,
    name: String,
    directory: TempDir,
}

impl Project {
    /// A project with one element for each of [`IMPORTS`], which brings the tree of that name in at `/NAME`, and a
    /// stack of them.
    pub(crate) fn new(generation: Generation, name: &str) -> Self {
        let project = Self::empty(generation, name);
        for tree in IMPORTS {
            project.import(tree, tree, &format!("/{tree}"));
        }
        project.stack("all", &IMPORTS);
        project
    }

    /// A project without elements.
    pub(crate) fn empty(generation: Generation, name: &str) -> Self {
        let project = Self {
            content: Content::get(),
            generation,
            name: name.to_owned(),
            directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        fs::create_dir(project.path().join("elements")).unwrap();
        project.write_configuration(&project.content.tarballs());
        project
    }

    /// Where `bst` is run.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a tree held before it was packed.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.content.tree(name)
    }

    /// Fails unless a checkout of `all.bst` is what went into it.
    pub(crate) fn assert_is(&self, checkout: &Path) {
        for tree in IMPORTS {
            self.assert_has(tree, checkout);
        }
    }

    /// Fails unless one tree is in a checkout as it went in.
    pub(crate) fn assert_has(&self, tree: &str, checkout: &Path) {
        tree::assert_same(&self.tree(tree), &checkout.join(tree));
    }

    /// The name that artifacts go by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes fetching, and so building, impossible; cache keys stay.
    pub(crate) fn take_sources_away(&self) {
        self.write_configuration(Path::new("/nonexistent/sources"));
    }

    fn write_configuration(&self, tarballs: &Path) {
        let version = match self.generation {
            Generation::One => "format-version: 12",
            Generation::Two => "min-version: 2.0",
        };
        let configuration = format!(
            "name: {}\n{version}\nelement-path: elements\naliases:\n  files: file://{}/\n",
            self.name,
            tarballs.display()
        );
        fs::write(self.path().join("project.conf"), configuration).unwrap();
    }

    /// Writes `elements/NAME.bst`.
    pub(crate) fn element(&self, name: &str, yaml: &str) {
        fs::write(self.path().join(format!("elements/{name}.bst")), yaml).unwrap();
    }

    /// An element that brings a tree in at `target`.
    pub(crate) fn import(&self, name: &str, tree: &str, target: &str) {
        let sha256 = self.content.tarball_sha256(tree);
        self.element(
            name,
            &format!(
                "kind: import\nsources:\n- kind: tar\n  url: files:{tree}.tar\n  ref: {sha256}\n\
                 config:\n  target: {target}\n"
            ),
        );
    }

    /// An element that only depends on others.
    pub(crate) fn stack(&self, name: &str, depends: &[&str]) {
        let list: String = depends.iter().map(|element| format!("- {element}.bst\n")).collect();
        self.element(name, &format!("kind: stack\ndepends:\n{list}"));
    }

    /// So many elements that differ in where they put one small file, and the stack `many.bst` of them.
    pub(crate) fn many_elements(&self, number: usize) {
        let names: Vec<String> = (0..number).map(|number| format!("element-{number:03}")).collect();
        for name in &names {
            self.import(name, "small", &format!("/{name}"));
        }
        self.stack("many", &names.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Fails unless a checkout of the stack that [`Project::many_elements`] made is whole.
    pub(crate) fn assert_has_many(&self, checkout: &Path, number: usize) {
        for number in 0..number {
            tree::assert_same(&self.tree("small"), &checkout.join(format!("element-{number:03}")));
        }
    }

    /// The root that sandboxed elements need, as `busybox.bst`.
    pub(crate) fn sandbox_root(&self) {
        self.import("busybox", "busybox", "/");
    }

    /// An element that runs commands in a sandbox: some to build, some to install.
    pub(crate) fn manual(&self, name: &str, build_depends: &[&str], build: &[&str], install: &[&str]) {
        let list = |items: &[&str], indent: &str| -> String {
            items.iter().map(|item| format!("{indent}- {item}\n")).collect()
        };
        // The form that every version takes: `build-depends` came with BuildStream 1.4.
        let depends: String = [&["busybox"], build_depends]
            .concat()
            .iter()
            .map(|element| format!("- filename: {element}.bst\n  type: build\n"))
            .collect();
        self.element(
            name,
            &format!(
                "kind: manual\ndepends:\n{depends}\
                 variables:\n  strip-binaries: ''\nconfig:\n  build-commands:\n{}  install-commands:\n{}",
                list(build, "  "),
                list(install, "  ")
            ),
        );
    }
}
