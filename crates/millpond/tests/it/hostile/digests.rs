//! Digests that are none, or of blobs that nobody could have.

use bytes::Bytes;
use millpond_proto::asset::PushBlobRequest;
use millpond_proto::buildstream::UpdateReferenceRequest;
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::reapi::{self, ActionResult, Digest, OutputFile};
use prost::Message;
use tonic::Code;

use super::{PATHS, Scene};
use crate::battery::{Blob, Client};

fn bad_digests() -> Vec<Digest> {
    let good = "ab".repeat(32);
    let digest = |hash: &str, size_bytes| Digest { hash: hash.into(), size_bytes };
    let mut digests: Vec<_> = PATHS.iter().map(|path| digest(path, 4)).collect();
    digests.extend([
        digest("", 4),
        digest(&good[1..], 4),
        digest(&format!("{good}0"), 4),
        digest(&good.to_uppercase(), 4),
        digest(&format!("{}é", &good[..62]), 4),
        digest(&good, -1),
        digest(&good, i64::MIN),
        digest(&"0".repeat(1 << 20), 4),
    ]);
    digests
}

#[test]
fn malformed_digests_are_invalid_wherever_they_stand() {
    let mut scene = Scene::new();
    for digest in bad_digests() {
        let Client { mut cas, mut actions, mut push, mut references, .. } = scene.attacker.clone();
        let bad = || Some(digest.clone());
        let tree = reapi::GetTreeRequest { root_digest: bad(), ..Default::default() };
        let get = reapi::GetActionResultRequest { action_digest: bad(), ..Default::default() };
        let file = OutputFile { path: "x".into(), digest: bad(), ..Default::default() };
        let result = ActionResult { output_files: vec![file], ..Default::default() };
        let keep = reapi::UpdateActionResultRequest {
            action_digest: Some(Blob::new(&b"action"[..]).digest),
            action_result: result.encode_to_vec().into(),
            ..Default::default()
        };
        let uris = vec!["https://example.org/x".to_owned()];
        let blob = PushBlobRequest { uris: uris.clone(), blob_digest: bad(), ..Default::default() };
        let reference = UpdateReferenceRequest { keys: uris, digest: bad(), ..Default::default() };
        let mut codes = vec![
            scene.code(cas.get_tree(tree)),
            scene.code(actions.get_action_result(get)),
            scene.code(push.push_blob(blob)),
            scene.code(references.update_reference(reference)),
        ];
        // An output without a digest is one that is empty, as old clients leave it out.
        if !digest.hash.is_empty() {
            codes.push(scene.code(actions.update_action_result(keep)));
        }
        // What can be no blob is missing, whatever else a client asks for with it.
        let mut client = scene.attacker.clone();
        match scene.runtime.block_on(client.missing(vec![digest.clone()])) {
            Ok(missing) => assert_eq!(missing, std::slice::from_ref(&digest)),
            Err(status) => codes.push(status.code()),
        }
        let shown = &digest.hash[..digest.hash.len().min(70)];
        assert!(codes.iter().all(|code| *code == Code::InvalidArgument), "{shown:?}: {codes:?}");
    }
    scene.others_notice_nothing();
}

#[test]
fn digests_of_absurd_sizes_are_refused_before_anything_is_kept() {
    let mut scene = Scene::new();
    let content = Bytes::from_static(b"small");
    for size_bytes in [i64::MAX, 1 << 62, 1 << 40, 6] {
        let hash = Blob::new(content.clone()).digest.hash;
        let mut bytes = scene.attacker.bytes.clone();
        let resource_name = format!("uploads/u/blobs/{hash}/{size_bytes}");
        let write =
            WriteRequest { resource_name, write_offset: 0, finish_write: true, data: content.clone() };
        let code = scene.code(async { bytes.write(tokio_stream::iter([write])).await });
        assert!(matches!(code, Code::InvalidArgument | Code::ResourceExhausted), "{size_bytes}: {code:?}");
        let blob = Blob { digest: Digest { hash, size_bytes }, content: content.clone() };
        let mut client = scene.attacker.clone();
        let code = scene.code(async { client.update(std::slice::from_ref(&blob)).await });
        assert!(matches!(code, Code::InvalidArgument | Code::ResourceExhausted), "{size_bytes}: {code:?}");
        let missing = scene.runtime.block_on(client.missing(vec![blob.digest.clone()])).unwrap();
        assert_eq!(missing, [blob.digest]);
    }
    scene.others_notice_nothing();
}
