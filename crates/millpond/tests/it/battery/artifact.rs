//! What clients push: artifacts and sources of BuildStream 2, references and assets of BuildStream 1, assets of
//! others, action results. Some of their names are written once, some again and again.

use std::collections::HashMap;

use bytes::Bytes;
use millpond_proto::buildstream::{Artifact, Source, artifact};
use millpond_proto::reapi::{ActionResult, Digest, OutputDirectory, OutputFile};
use prost::Message;

use super::content::{self, Blob};
use super::ledger::{Name, Target, Value};
use super::random::Random;
use super::tree::Tree;

const BASE: &str = "urn:fdc:buildstream.build:2020:";

/// The call that publishes.
pub(crate) enum Publish {
    Blob { uris: Vec<String>, references_blobs: Vec<Digest>, references_directories: Vec<Digest> },
    Directory { uris: Vec<String> },
    Reference { keys: Vec<String> },
    Action { action: Digest, result: Bytes },
}

/// Something whole to push: blobs, and then names for it.
pub(crate) struct Pushed {
    pub publish: Publish,
    /// What the names point to.
    pub root: Digest,
    /// To be uploaded before.
    pub blobs: Vec<Blob>,
    /// Blobs that reach the server within the publishing call.
    inline: Vec<Digest>,
    trees: Vec<Tree>,
}

impl Pushed {
    pub(crate) fn any(random: &mut Random, project: u64) -> Self {
        match random.below(12) {
            0..5 => artifact(random, project),
            5 => source(random, project),
            6 => source_tree(random, project),
            7 | 8 => reference(random, project),
            9 => asset(random, project),
            _ => action_result(random, project),
        }
    }

    /// What commits together.
    pub(crate) fn names(&self) -> Vec<Name> {
        match &self.publish {
            Publish::Blob { uris, .. } => uris.iter().cloned().map(Name::Blob).collect(),
            Publish::Directory { uris } => uris.iter().cloned().map(Name::Directory).collect(),
            Publish::Reference { keys } => {
                keys.iter().map(|key| Name::Directory(format!("{BASE}v1:{key}"))).collect()
            }
            Publish::Action { action, .. } => vec![Name::Action(action.clone())],
        }
    }

    /// What they must answer, and what must be there with it.
    pub(crate) fn value(&self) -> Value {
        let target = match &self.publish {
            Publish::Action { result, .. } => Target::Result(result.clone()),
            _ => Target::Digest(self.root.clone()),
        };
        let mut closure: Vec<_> = self.blobs.iter().map(|blob| blob.digest.clone()).collect();
        closure.extend_from_slice(&self.inline);
        let directories = |tree: &Tree| tree.directories.iter().map(|blob| blob.digest.clone()).collect();
        let trees: HashMap<_, _> =
            self.trees.iter().map(|tree| (tree.root().digest.clone(), directories(tree))).collect();
        Value { target, closure, trees }
    }

    /// Blobs of a tree that is uploaded as such.
    fn add_tree(&mut self, tree: Tree) {
        self.blobs.extend(tree.files.iter().chain(&tree.directories).cloned());
        self.trees.push(tree);
    }

    pub(crate) fn new(publish: Publish, root: Digest) -> Self {
        Self { publish, root, blobs: Vec::new(), inline: Vec::new(), trees: Vec::new() }
    }
}

/// A name that is written once, and one that three generations of an element share.
fn keys(random: &mut Random) -> (String, String) {
    let element = format!("element-{}", random.below(12));
    let weak = Random::new(random.below(3)).key();
    (format!("battery/{element}/{}", random.key()), format!("battery/{element}/{weak}"))
}

/// BuildStream 2's artifact, with a buildtree now and then, and with sources that were never uploaded.
fn artifact(random: &mut Random, project: u64) -> Pushed {
    let tree = Tree::new(random, project);
    let [public, low, high] = ["public", "low", "high"].map(|title| content::text(random, title));
    let logs: Vec<_> = (0..random.between(1, 2)).map(|_| content::text(random, "log")).collect();
    let buildtree = random.one_in(4).then(|| Tree::new(random, project));
    let dangling = random.one_in(6).then(|| Digest { hash: random.key().into(), size_bytes: 77 });
    let (strong, weak) = keys(random);
    let log = |blob: &Blob| artifact::LogFile { name: "build.log".into(), digest: Some(blob.digest.clone()) };
    let message = Artifact {
        version: 2,
        build_success: true,
        strong_key: strong.clone(),
        weak_key: weak.clone(),
        files: Some(tree.root().digest.clone()),
        public_data: Some(public.digest.clone()),
        logs: logs.iter().map(log).collect(),
        buildtree: buildtree.as_ref().map(|tree| tree.root().digest.clone()),
        sources: dangling.clone(),
        low_diversity_meta: Some(low.digest.clone()),
        high_diversity_meta: Some(high.digest.clone()),
        ..Default::default()
    };
    let proto = Blob::new(message.encode_to_vec());
    let references_directories =
        [message.files, message.buildtree, message.sources].into_iter().flatten().collect();
    let references_blobs = [&low, &high].into_iter().chain(&logs).map(|blob| blob.digest.clone()).collect();
    let uris = vec![format!("{BASE}artifact:{strong}"), format!("{BASE}artifact:{weak}")];
    let root = proto.digest.clone();
    let mut pushed = Pushed::new(Publish::Blob { uris, references_blobs, references_directories }, root);
    pushed.add_tree(tree);
    buildtree.into_iter().for_each(|tree| pushed.add_tree(tree));
    pushed.blobs.extend(logs.into_iter().chain([public, low, high, proto]));
    pushed
}

/// An element's sources, as BuildStream 2 stages them.
fn source(random: &mut Random, project: u64) -> Pushed {
    let tree = Tree::new(random, project);
    let message = Source { version: 1, files: Some(tree.root().digest.clone()) };
    let proto = Blob::new(message.encode_to_vec());
    let uris = vec![format!("{BASE}source:{}", random.key())];
    let references_directories = message.files.into_iter().collect();
    let publish = Publish::Blob { uris, references_blobs: Vec::new(), references_directories };
    let mut pushed = Pushed::new(publish, proto.digest.clone());
    pushed.add_tree(tree);
    pushed.blobs.push(proto);
    pushed
}

/// One source's tree.
fn source_tree(random: &mut Random, project: u64) -> Pushed {
    let tree = Tree::new(random, project);
    let uris = vec![format!("{BASE}source:local/{}", random.key())];
    let mut pushed = Pushed::new(Publish::Directory { uris }, tree.root().digest.clone());
    pushed.add_tree(tree);
    pushed
}

/// BuildStream 1's artifact: by the older releases' reference, or by the newer ones' asset.
fn reference(random: &mut Random, project: u64) -> Pushed {
    let tree = Tree::new(random, project);
    let (strong, weak) = keys(random);
    let keys = vec![strong, weak];
    let publish = if random.one_in(2) {
        Publish::Reference { keys }
    } else {
        Publish::Directory { uris: keys.iter().map(|key| format!("{BASE}v1:{key}")).collect() }
    };
    let mut pushed = Pushed::new(publish, tree.root().digest.clone());
    pushed.add_tree(tree);
    pushed
}

/// An asset of no form that the server knows, with what it refers to.
fn asset(random: &mut Random, project: u64) -> Pushed {
    let uris = vec![format!("https://example.org/release-{}.tar", random.below(30))];
    let [main, other] = [(); 2].map(|()| content::file(random, project));
    let tree = Tree::new(random, project);
    let references_blobs = vec![other.digest.clone()];
    let references_directories = vec![tree.root().digest.clone()];
    let root = main.digest.clone();
    let mut pushed = Pushed::new(Publish::Blob { uris, references_blobs, references_directories }, root);
    pushed.blobs.extend([main, other]);
    pushed.add_tree(tree);
    pushed
}

/// The result of an action, with a file that is uploaded by being in it.
fn action_result(random: &mut Random, project: u64) -> Pushed {
    let action = content::digest_of(format!("action {}", random.below(60)).as_bytes());
    let file = content::file(random, project);
    let inlined = content::text(random, "inlined");
    let stdout = content::text(random, "stdout");
    let tree = Tree::new(random, project);
    let tree_message = tree.as_message();
    let with_root = random.one_in(2);
    let output = |path: &str, blob: &Blob, contents: Bytes| OutputFile {
        path: path.into(),
        digest: Some(blob.digest.clone()),
        contents,
        ..Default::default()
    };
    let directory = OutputDirectory {
        path: "out".into(),
        tree_digest: Some(tree_message.digest.clone()),
        root_directory_digest: with_root.then(|| tree.root().digest.clone()),
        ..Default::default()
    };
    let result = ActionResult {
        output_files: vec![
            output("file", &file, Bytes::new()),
            output("inlined", &inlined, inlined.content.clone()),
        ],
        output_directories: vec![directory],
        stdout_digest: Some(stdout.digest.clone()),
        ..Default::default()
    };
    let result = Bytes::from(result.encode_to_vec());
    let mut pushed = Pushed::new(Publish::Action { action: action.clone(), result }, action);
    if with_root {
        pushed.add_tree(tree);
    } else {
        pushed.blobs.extend(tree.files);
    }
    pushed.inline.push(inlined.digest);
    pushed.blobs.extend([file, stdout, tree_message]);
    pushed
}
