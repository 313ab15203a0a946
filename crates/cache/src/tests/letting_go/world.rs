//! A few blobs, and names of each kind for what they make up: small enough that everything shares with everything.

use std::collections::HashMap;

use millpond_store::catalog::{Name, NameKind, Target, Value};

use super::super::*;

/// Something that a name can point to.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    /// Of its blob or root, or of an action result's bytes.
    pub(super) digest: Digest,
    /// An action result.
    content: Bytes,
    trees: Vec<Digest>,
    /// All blobs that it needs.
    pub(super) closure: Vec<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Artifact,
    Reference,
    /// A blob that declares two trees.
    Plain,
    Result,
}

pub(super) const KINDS: [Kind; 4] = [Kind::Artifact, Kind::Reference, Kind::Plain, Kind::Result];
/// Names of each kind.
const NAMES: usize = 3;

pub(super) struct World {
    pub(super) contents: HashMap<Digest, Bytes>,
    pub(super) things: Vec<Thing>,
    pub(super) names: Vec<(Kind, String)>,
}

/// Below 64 KiB they share packs, from there on they have packs of their own.
const SIZES: [usize; 8] = [30, 700, 9_000, 30_000, 50_000, 66_000, 90_000, 40_000];

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self { contents: HashMap::new(), things: Vec::new(), names: Vec::new() };
        let files: Vec<Digest> =
            (0_u8..).zip(SIZES).map(|(number, size)| world.add(vec![number; size])).collect();
        let mut roots = Vec::new();
        for number in 0..4 {
            let below = [files[number], files[number + 4]];
            let child = world.directory(&[("a", below[0]), ("b", below[1])], &[]);
            let shared = world.directory(&[("s", files[2])], &[]);
            let root = world.directory(&[("own", files[(number + 3) % 8])], &[("c", child), ("d", shared)]);
            let closure = vec![root, child, shared, below[0], below[1], files[2], files[(number + 3) % 8]];
            roots.push((root, closure.clone()));
            world.thing(Kind::Reference, root, closure.clone(), Vec::new());
            let artifact = world.add(artifact(root, None).encode_to_vec());
            let of_artifact = [closure, vec![artifact]].concat();
            world.thing(Kind::Artifact, artifact, of_artifact, Vec::new());
        }
        // Many, so that it is often only their own blob that is still to come.
        for number in 0..16 {
            let (one, other) = (&roots[number % 4], &roots[(number + 1) % 4]);
            let blob = world.add(format!("plain {number}").into_bytes());
            let closure = [one.1.clone(), other.1.clone(), vec![blob]].concat();
            world.thing(Kind::Plain, blob, closure, vec![one.0, other.0]);
            if number < 4 {
                world.result(&[files[number], files[7 - number]]);
            }
        }
        for kind in KINDS {
            world.names.extend((0..NAMES).map(|number| (kind, uri(kind, number))));
        }
        world
    }

    fn add(&mut self, content: Vec<u8>) -> Digest {
        let digest = Digest::of(&content);
        self.contents.insert(digest, content.into());
        digest
    }

    fn directory(&mut self, files: &[(&str, Digest)], directories: &[(&str, Digest)]) -> Digest {
        self.add(directory(files, directories).encode_to_vec())
    }

    fn thing(&mut self, kind: Kind, digest: Digest, closure: Vec<Digest>, trees: Vec<Digest>) {
        self.things.push(Thing { kind, digest, content: Bytes::new(), trees, closure });
    }

    fn result(&mut self, files: &[Digest]) {
        let output = |digest: &Digest| reapi::OutputFile {
            path: digest.to_string(),
            digest: Some(wire(*digest)),
            ..Default::default()
        };
        let output_files = files.iter().map(output).collect();
        let content = reapi::ActionResult { output_files, ..Default::default() }.encode_to_vec();
        let digest = Digest::of(&content);
        let (trees, closure) = (Vec::new(), files.to_vec());
        self.things.push(Thing { kind: Kind::Result, digest, content: content.into(), trees, closure });
    }

    /// What a value points to.
    pub(super) fn of(&self, value: &Value) -> &Thing {
        let digest = match &value.target {
            Target::Blob(digest) | Target::Directory(digest) => *digest,
            Target::Inline(content) => Digest::of(content),
        };
        self.by_digest(digest)
    }

    fn by_digest(&self, digest: Digest) -> &Thing {
        self.things.iter().find(|thing| thing.digest == digest).unwrap()
    }

    /// As the catalog knows it.
    pub(super) fn name(&self, number: usize) -> Name {
        let (kind, text) = &self.names[number];
        let (text, kind) = match kind {
            Kind::Reference => (text.clone(), NameKind::AssetDirectory),
            Kind::Artifact | Kind::Plain => (text.clone(), NameKind::AssetBlob),
            Kind::Result => (Digest::of(text.as_bytes()).to_string(), NameKind::ActionResult),
        };
        Name { instance: "".into(), kind, text: text.into(), qualifiers: "".into() }
    }

    pub(super) fn blobs(&self, digests: &[Digest]) -> Vec<(Digest, Bytes)> {
        digests.iter().map(|digest| (*digest, self.contents[digest].clone())).collect()
    }

    pub(super) async fn publish(&self, fixture: &Fixture, name: usize, thing: &Thing) -> Result<Published> {
        let (kind, text) = &self.names[name];
        let mut push = asset(AssetKind::Blob, &[text], thing.digest);
        match kind {
            Kind::Result => {
                let (action, content) = (Digest::of(text.as_bytes()), thing.content.clone());
                let updated = fixture.cache.update_action_result(&fixture.push, action, content).await;
                return updated.map(|()| Published::Whole);
            }
            Kind::Reference => push.kind = AssetKind::Directory,
            Kind::Plain => push.references_directories.clone_from(&thing.trees),
            Kind::Artifact => {}
        }
        fixture.cache.push_asset(&fixture.push, push).await
    }

    pub(super) async fn look_up(&self, fixture: &Fixture, name: usize) -> Option<&Thing> {
        let (kind, text) = &self.names[name];
        let digest = match kind {
            Kind::Result => {
                let action = Digest::of(text.as_bytes());
                fixture.cache.action_result(&fixture.pull, action).await.ok().map(|bytes| Digest::of(&bytes))
            }
            Kind::Reference => fixture.fetch_digest(AssetKind::Directory, text).await,
            Kind::Artifact | Kind::Plain => fixture.fetch_digest(AssetKind::Blob, text).await,
        };
        digest.map(|digest| self.by_digest(digest))
    }
}

fn uri(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Artifact => format!("{ARTIFACT}{number}"),
        Kind::Reference => crate::reference_uri(&format!("project/element/{number}")).unwrap(),
        Kind::Plain => format!("https://example.org/{number}"),
        Kind::Result => format!("action {number}"),
    }
}
