//! Trees of absurd depth and width, and blobs that are no trees at all.

use millpond_proto::asset::{PushBlobRequest, PushDirectoryRequest};
use millpond_proto::reapi::{
    self, ActionResult, Digest, Directory, DirectoryNode, FileNode, OutputDirectory,
};
use prost::Message;
use tonic::Code;

use super::Scene;
use crate::battery::{Blob, Random};

/// A chain of directories, each in the next; the outermost.
fn chain(scene: &mut Scene, depth: usize) -> Digest {
    let mut blobs = vec![Blob::new(Directory::default().encode_to_vec())];
    for _ in 0..depth {
        let below = blobs.last().map(|blob| blob.digest.clone());
        let node = DirectoryNode { name: "d".into(), digest: below };
        let directory = Directory { directories: vec![node], ..Default::default() };
        blobs.push(Blob::new(directory.encode_to_vec()));
    }
    for batch in blobs.chunks(1000) {
        scene.runtime.block_on(scene.attacker.update(batch)).unwrap();
    }
    blobs.pop().unwrap().digest
}

fn push_tree(scene: &mut Scene, name: &str, root: &Digest) -> Code {
    let request = PushDirectoryRequest {
        uris: vec![name.to_owned()],
        root_directory_digest: Some(root.clone()),
        ..Default::default()
    };
    let mut push = scene.attacker.push.clone();
    scene.code(push.push_directory(request))
}

#[test]
fn tree_five_thousand_deep_is_refused_as_a_name_and_walked_within_bounds() {
    let mut scene = Scene::new();
    let root = chain(&mut scene, 5000);
    assert_eq!(push_tree(&mut scene, "deep", &root), Code::InvalidArgument);
    let output =
        OutputDirectory { path: "x".into(), root_directory_digest: Some(root.clone()), ..Default::default() };
    let result = ActionResult { output_directories: vec![output], ..Default::default() };
    let request = reapi::UpdateActionResultRequest {
        action_digest: Some(root.clone()),
        action_result: result.encode_to_vec().into(),
        ..Default::default()
    };
    let mut actions = scene.attacker.actions.clone();
    assert_eq!(scene.code(actions.update_action_result(request)), Code::InvalidArgument);
    let mut client = scene.attacker.clone();
    let code = scene.code(async { client.tree(&root).await });
    assert!(matches!(code, Code::Ok | Code::InvalidArgument), "{code:?}");
    scene.others_notice_nothing();
}

#[test]
fn tree_nested_a_million_times_is_walked_once() {
    let mut scene = Scene::new();
    let mut below = scene.put(&Directory::default());
    for _ in 0..7 {
        let node = |number| DirectoryNode { name: format!("d{number}"), digest: Some(below.clone()) };
        let directories = (0..10).map(node).collect();
        below = scene.put(&Directory { directories, ..Default::default() });
    }
    assert_eq!(push_tree(&mut scene, "nested", &below), Code::Ok);
    let mut client = scene.attacker.clone();
    assert_eq!(scene.runtime.block_on(client.tree(&below)).unwrap().len(), 8);
    scene.others_notice_nothing();
}

#[test]
fn tree_of_sixty_thousand_entries_in_one_directory_is_a_name_like_any() {
    let mut scene = Scene::new();
    let blob = Blob::new(&b"x"[..]);
    scene.runtime.block_on(scene.attacker.update(std::slice::from_ref(&blob))).unwrap();
    let file = |number| FileNode {
        name: format!("{number:05}"),
        digest: Some(blob.digest.clone()),
        ..Default::default()
    };
    let wide =
        Blob::new(Directory { files: (0..60_000).map(file).collect(), ..Default::default() }.encode_to_vec());
    scene.runtime.block_on(scene.attacker.write(&wide, 1 << 20, usize::MAX)).unwrap();
    assert_eq!(push_tree(&mut scene, "wide", &wide.digest), Code::Ok);
    let found = scene.runtime.block_on(scene.attacker.clone().tree(&wide.digest)).unwrap();
    assert_eq!(found, [wide.content]);
    scene.others_notice_nothing();
}

#[test]
fn blobs_that_are_no_messages_are_not_taken_for_some() {
    let mut scene = Scene::new();
    let mut random = Random::new(3);
    for length in [1, 100, 100_000] {
        // Begins with a field that claims more than there is.
        let mut bytes = vec![0x0a, 0xff, 0xff, 0xff, 0x7f];
        bytes.extend(random.bytes(length));
        let blob = Blob::new(bytes);
        scene.runtime.block_on(scene.attacker.update(std::slice::from_ref(&blob))).unwrap();
        assert_eq!(push_tree(&mut scene, "garbage", &blob.digest), Code::InvalidArgument);
        let mut push = scene.attacker.push.clone();
        for kind in ["artifact:p/e/k", "source:k"] {
            let request = PushBlobRequest {
                uris: vec![format!("urn:fdc:buildstream.build:2020:{kind}")],
                blob_digest: Some(blob.digest.clone()),
                ..Default::default()
            };
            assert_eq!(scene.code(push.push_blob(request)), Code::InvalidArgument, "{kind}");
        }
        let mut actions = scene.attacker.actions.clone();
        let request = reapi::UpdateActionResultRequest {
            action_digest: Some(blob.digest.clone()),
            action_result: blob.content.clone(),
            ..Default::default()
        };
        assert_eq!(scene.code(actions.update_action_result(request)), Code::InvalidArgument);
        let mut client = scene.attacker.clone();
        let code = scene.code(async { client.tree(&blob.digest).await });
        assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{code:?}");
    }
    scene.others_notice_nothing();
}
