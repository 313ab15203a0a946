//! BuildStream 1's references, which are one name with its asset URIs.

use millpond_proto::asset::{FetchDirectoryRequest, PushDirectoryRequest};
use millpond_proto::buildstream::{GetReferenceRequest, UpdateReferenceRequest};
use millpond_proto::reapi::{Digest, Directory, SymlinkNode};
use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound};

use crate::server::{Client, TestServer, ok, refused, unknown_digest};

const KEY: &str = "project/element/0123456789abcdef";
const URI: &str = "urn:fdc:buildstream.build:2020:v1:project/element/0123456789abcdef";

async fn put_tree(client: &mut Client, target: &str) -> Digest {
    let link = SymlinkNode { name: "link".into(), target: target.into(), ..Default::default() };
    client.put_message(&Directory { symlinks: vec![link], ..Default::default() }).await
}

fn get(key: &str) -> GetReferenceRequest {
    GetReferenceRequest { key: key.into(), ..Default::default() }
}

fn update(keys: &[&str], digest: &Digest) -> UpdateReferenceRequest {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    UpdateReferenceRequest { keys, digest: Some(digest.clone()), ..Default::default() }
}

#[tokio::test]
async fn references_and_assets_are_one_name() {
    let server = TestServer::start().await;
    let mut client = server.buildstream1().await;
    let first = put_tree(&mut client, "/absolute").await;
    assert_eq!(refused(client.references.get_reference(get(KEY)).await), NotFound);
    ok(client.references.update_reference(update(&[KEY, "project/element/weak"], &first)).await);
    for key in [KEY, "project/element/weak"] {
        assert_eq!(ok(client.references.get_reference(get(key)).await).digest, Some(first.clone()));
    }
    let fetch = FetchDirectoryRequest { uris: vec![URI.into()], ..Default::default() };
    assert_eq!(ok(client.fetch.fetch_directory(fetch).await).root_directory_digest, Some(first));

    let second = put_tree(&mut client, "../dangling").await;
    let push = PushDirectoryRequest {
        uris: vec![URI.into()],
        root_directory_digest: Some(second.clone()),
        ..Default::default()
    };
    ok(client.push.push_directory(push).await);
    assert_eq!(ok(client.references.get_reference(get(KEY)).await).digest, Some(second));
    server.stop().await;
}

#[tokio::test]
async fn reference_to_a_missing_tree_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.buildstream1().await;
    let answer = client.references.update_reference(update(&[KEY], &unknown_digest())).await;
    assert_eq!(refused(answer), FailedPrecondition);
    assert_eq!(refused(client.references.get_reference(get(KEY)).await), NotFound);
    server.stop().await;
}

#[tokio::test]
async fn keys_are_opaque_and_malformed_ones_are_invalid() {
    let server = TestServer::start().await;
    let mut client = server.buildstream1().await;
    let tree = put_tree(&mut client, "x").await;
    assert_eq!(refused(client.references.get_reference(get("/etc/passwd")).await), NotFound);
    assert_eq!(refused(client.references.get_reference(get("../../../escape")).await), NotFound);
    for bad in [
        update(&[], &tree),
        update(&[""], &tree),
        update(&["a\0b"], &tree),
        update(&[KEY], &Digest { hash: "x".into(), size_bytes: 1 }),
        UpdateReferenceRequest { keys: vec![KEY.into()], ..Default::default() },
    ] {
        assert_eq!(refused(client.references.update_reference(bad).await), InvalidArgument);
    }
    server.stop().await;
}
