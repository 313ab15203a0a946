//! Paths in every string field.

use millpond_proto::asset::{
    FetchBlobRequest, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest, Qualifier,
};
use millpond_proto::buildstream::{GetReferenceRequest, UpdateReferenceRequest};
use millpond_proto::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use millpond_proto::reapi::{self, Digest, Directory, DirectoryNode, FileNode, SymlinkNode};
use tonic::Code;

use super::{PATHS, Scene};
use crate::battery::{Blob, Client};

#[test]
fn paths_in_every_string_field_are_names_or_invalid() {
    let mut scene = Scene::new();
    let root = scene.put(&Directory::default());
    let blob = Blob::new(&b"a blob of the attacker's"[..]);
    scene.runtime.block_on(scene.attacker.update(std::slice::from_ref(&blob))).unwrap();
    for path in PATHS {
        let path = path.to_owned();
        let client = scene.attacker.clone();
        for code in as_instance(&mut scene, client.clone(), &path) {
            assert_eq!(code, Code::InvalidArgument, "instance {path:?}");
        }
        for code in as_resource(&mut scene, client.clone(), &path, &blob) {
            assert_eq!(code, Code::InvalidArgument, "resource {path:?}");
        }
        as_name(&mut scene, client, &path, &blob.digest, &root);
        scene.others_notice_nothing();
    }
}

/// As the instance's name.
fn as_instance(scene: &mut Scene, client: Client, path: &str) -> Vec<Code> {
    let instance_name = || path.to_owned();
    let digest = Some(Blob::new(&b""[..]).digest);
    let Client { mut cas, mut actions, mut fetch, mut push, mut references, .. } = client;
    let find = reapi::FindMissingBlobsRequest { instance_name: instance_name(), ..Default::default() };
    let update = reapi::BatchUpdateBlobsRequest { instance_name: instance_name(), ..Default::default() };
    let read = reapi::BatchReadBlobsRequest { instance_name: instance_name(), ..Default::default() };
    let get = reapi::GetActionResultRequest {
        instance_name: instance_name(),
        action_digest: digest.clone(),
        ..Default::default()
    };
    let keep = reapi::UpdateActionResultRequest {
        instance_name: instance_name(),
        action_digest: digest.clone(),
        ..Default::default()
    };
    let uris = vec!["x".to_owned()];
    let blob = FetchBlobRequest { instance_name: instance_name(), uris: uris.clone(), ..Default::default() };
    let name = PushBlobRequest {
        instance_name: instance_name(),
        uris: uris.clone(),
        blob_digest: digest.clone(),
        ..Default::default()
    };
    let reference = UpdateReferenceRequest { instance_name: instance_name(), keys: uris, digest };
    vec![
        scene.code(cas.find_missing_blobs(find)),
        scene.code(cas.batch_update_blobs(update)),
        scene.code(cas.batch_read_blobs(read)),
        scene.code(actions.get_action_result(get)),
        scene.code(actions.update_action_result(keep)),
        scene.code(fetch.fetch_blob(blob)),
        scene.code(push.push_blob(name)),
        scene.code(references.update_reference(reference)),
    ]
}

/// In the names of resources to read and write.
fn as_resource(scene: &mut Scene, client: Client, path: &str, blob: &Blob) -> Vec<Code> {
    let Digest { hash, size_bytes } = &blob.digest;
    let names = [
        path.to_owned(),
        format!("{path}/blobs/{hash}/{size_bytes}"),
        format!("blobs/{path}/{size_bytes}"),
        format!("blobs/{hash}/{path}"),
        format!("uploads/u/blobs/{path}/{size_bytes}"),
        format!("{path}/uploads/u/blobs/{hash}/{size_bytes}"),
    ];
    let mut codes = Vec::new();
    for name in names {
        let mut bytes = client.bytes.clone();
        let data = blob.content.clone();
        let write = WriteRequest { resource_name: name.clone(), write_offset: 0, finish_write: true, data };
        codes.push(scene.code(async { bytes.write(tokio_stream::iter([write])).await }));
        let query = QueryWriteStatusRequest { resource_name: name.clone() };
        codes.push(scene.code(bytes.query_write_status(query)));
        let read = ReadRequest { resource_name: name, ..Default::default() };
        codes.push(scene.code(async {
            let mut stream = bytes.read(read).await?.into_inner();
            stream.message().await
        }));
    }
    codes
}

/// As names and inside of trees, where they are opaque: taken, and found as they were sent.
fn as_name(scene: &mut Scene, client: Client, path: &str, blob: &Digest, root: &Digest) {
    let Client { mut fetch, mut push, mut references, .. } = client;
    let uris = vec![path.to_owned()];
    let qualifiers = vec![Qualifier { name: path.to_owned(), value: path.to_owned() }];
    let request = PushBlobRequest {
        uris: uris.clone(),
        qualifiers: qualifiers.clone(),
        blob_digest: Some(blob.clone()),
        ..Default::default()
    };
    assert_eq!(scene.code(push.push_blob(request)), Code::Ok, "{path:?}");
    let request = FetchBlobRequest { uris: uris.clone(), qualifiers, ..Default::default() };
    let found = scene.runtime.block_on(fetch.fetch_blob(request)).unwrap().into_inner();
    assert_eq!(found.blob_digest.as_ref(), Some(blob));
    let keys = uris.clone();
    let request = UpdateReferenceRequest { keys, digest: Some(root.clone()), ..Default::default() };
    assert_eq!(scene.code(references.update_reference(request)), Code::Ok, "{path:?}");
    let request = GetReferenceRequest { key: path.to_owned(), ..Default::default() };
    let found = scene.runtime.block_on(references.get_reference(request)).unwrap().into_inner();
    assert_eq!(found.digest.as_ref(), Some(root));
    let request = FetchDirectoryRequest { uris, ..Default::default() };
    assert_eq!(scene.code(fetch.fetch_directory(request)), Code::NotFound, "a blob's name has no directory");

    let file = FileNode { name: path.to_owned(), digest: Some(blob.clone()), ..Default::default() };
    let folder = DirectoryNode { name: path.to_owned(), digest: Some(root.clone()) };
    let link = SymlinkNode { name: path.to_owned(), target: path.to_owned(), ..Default::default() };
    let tree = Directory {
        files: vec![file],
        directories: vec![folder],
        symlinks: vec![link],
        ..Default::default()
    };
    let tree = scene.put(&tree);
    let request = PushDirectoryRequest {
        uris: vec![format!("tree {path}")],
        root_directory_digest: Some(tree),
        ..Default::default()
    };
    assert_eq!(scene.code(push.push_directory(request)), Code::Ok, "{path:?}");
}
