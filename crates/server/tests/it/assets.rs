//! Remote Asset: names, several at once, qualifiers, expiry, wholeness.

use millpond_proto::asset::{
    FetchBlobRequest, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest, Qualifier,
};
use millpond_proto::buildstream::Artifact;
use millpond_proto::reapi::{Digest, Directory, FileNode};
use prost_types::Timestamp;
use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound};

use crate::server::{Client, TestServer, digest, ok, refused, unknown_digest};

const ARTIFACT: &str = "urn:fdc:buildstream.build:2020:artifact:project/element/key";

fn push(uris: &[&str], blob: &Digest) -> PushBlobRequest {
    let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
    PushBlobRequest { uris, blob_digest: Some(blob.clone()), ..Default::default() }
}

fn fetch(uris: &[&str]) -> FetchBlobRequest {
    FetchBlobRequest { uris: uris.iter().map(|uri| (*uri).to_owned()).collect(), ..Default::default() }
}

/// A directory with one file of that content, which is uploaded as well.
async fn put_tree(client: &mut Client, content: &[u8]) -> Digest {
    client.put(&[content]).await;
    let file = FileNode { name: "file".into(), digest: Some(digest(content)), ..Default::default() };
    client.put_message(&Directory { files: vec![file], ..Default::default() }).await
}

#[tokio::test]
async fn any_of_several_uris_finds_and_the_last_writer_wins() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"one", b"two"]).await;
    ok(client.push.push_blob(push(&["urn:x:strong", "urn:x:weak"], &digest(b"one"))).await);
    ok(client.push.push_blob(push(&["urn:x:weak"], &digest(b"two"))).await);
    let found = ok(client.fetch.fetch_blob(fetch(&["urn:x:unknown", "urn:x:strong"])).await);
    assert_eq!((found.uri.as_str(), found.blob_digest), ("urn:x:strong", Some(digest(b"one"))));
    let found = ok(client.fetch.fetch_blob(fetch(&["urn:x:weak"])).await);
    assert_eq!(found.blob_digest, Some(digest(b"two")));
    assert_eq!(found.status.map_or(0, |status| status.code), 0);
    assert_eq!(refused(client.fetch.fetch_blob(fetch(&["urn:x:unknown"])).await), NotFound);
    server.stop().await;
}

#[tokio::test]
async fn blobs_and_directories_are_name_spaces_apart() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = put_tree(&mut client, b"content").await;
    let uris = vec!["urn:x:tree".to_owned()];
    let request = PushDirectoryRequest {
        uris: uris.clone(),
        root_directory_digest: Some(tree.clone()),
        ..Default::default()
    };
    ok(client.push.push_directory(request).await);
    let request = FetchDirectoryRequest { uris, ..Default::default() };
    assert_eq!(ok(client.fetch.fetch_directory(request).await).root_directory_digest, Some(tree));
    assert_eq!(refused(client.fetch.fetch_blob(fetch(&["urn:x:tree"])).await), NotFound);
    server.stop().await;
}

#[tokio::test]
async fn qualifiers_make_another_name_and_their_order_does_not_matter() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"qualified"]).await;
    let qualifier = |name: &str| Qualifier { name: name.into(), value: "v".into() };
    let mut request = push(&["urn:x:q"], &digest(b"qualified"));
    request.qualifiers = vec![qualifier("a"), qualifier("b")];
    ok(client.push.push_blob(request).await);
    let mut request = fetch(&["urn:x:q"]);
    assert_eq!(refused(client.fetch.fetch_blob(request.clone()).await), NotFound);
    request.qualifiers = vec![qualifier("b"), qualifier("a")];
    assert_eq!(ok(client.fetch.fetch_blob(request.clone()).await).blob_digest, Some(digest(b"qualified")));
    request.qualifiers = vec![qualifier("a"), qualifier("a")];
    assert_eq!(refused(client.fetch.fetch_blob(request).await), InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn expired_and_too_old_assets_are_not_found() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"short-lived"]).await;
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let mut request = push(&["urn:x:past"], &digest(b"short-lived"));
    request.expire_at = at(1_000_000_000);
    ok(client.push.push_blob(request).await);
    assert_eq!(refused(client.fetch.fetch_blob(fetch(&["urn:x:past"])).await), NotFound);

    let mut request = push(&["urn:x:future"], &digest(b"short-lived"));
    request.expire_at = at(4_000_000_000);
    ok(client.push.push_blob(request).await);
    let mut request = fetch(&["urn:x:future"]);
    assert_eq!(ok(client.fetch.fetch_blob(request.clone()).await).expires_at, at(4_000_000_000));
    request.oldest_content_accepted = at(3_900_000_000);
    assert_eq!(refused(client.fetch.fetch_blob(request.clone()).await), NotFound);
    request.oldest_content_accepted = at(1_000_000_000);
    ok(client.fetch.fetch_blob(request).await);
    server.stop().await;
}

#[tokio::test]
async fn incomplete_asset_is_refused_with_what_is_missing() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let gone = unknown_digest();
    let status = client.push.push_blob(push(&["urn:x:gone"], &gone)).await.unwrap_err();
    assert_eq!(status.code(), FailedPrecondition);
    assert!(status.message().contains(&*gone.hash), "{}", status.message());
    client.put(&[b"blob"]).await;
    let mut request = push(&["urn:x:gone"], &digest(b"blob"));
    request.references_directories = vec![gone];
    assert_eq!(refused(client.push.push_blob(request.clone()).await), FailedPrecondition);
    assert_eq!(refused(client.fetch.fetch_blob(fetch(&["urn:x:gone"])).await), NotFound);
    request.references_directories = vec![Digest::default()];
    ok(client.push.push_blob(request).await);
    server.stop().await;
}

#[tokio::test]
async fn incomplete_artifact_waits_for_its_blobs_and_is_then_served() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let file = FileNode { name: "late".into(), digest: Some(digest(b"late")), ..Default::default() };
    let files = client.put_message(&Directory { files: vec![file], ..Default::default() }).await;
    let sources = Some(unknown_digest());
    let artifact = Artifact { version: 1, files: Some(files.clone()), sources, ..Default::default() };
    let blob = client.put_message(&artifact).await;
    let mut request = push(&[ARTIFACT], &blob);
    request.references_directories = vec![files, Digest::default()];
    ok(client.push.push_blob(request).await);
    assert_eq!(refused(client.fetch.fetch_blob(fetch(&[ARTIFACT])).await), NotFound);
    client.put(&[b"late"]).await;
    assert_eq!(ok(client.fetch.fetch_blob(fetch(&[ARTIFACT])).await).blob_digest, Some(blob));
    server.stop().await;
}

#[tokio::test]
async fn malformed_pushes_are_invalid() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"\xff no artifact \xff"]).await;
    for bad in [
        PushBlobRequest { uris: vec!["urn:x:1".into()], ..Default::default() },
        push(&[], &digest(b"x")),
        push(&[""], &digest(b"x")),
        push(&[&"u".repeat(100_000)], &digest(b"x")),
        push(&["urn:x:1"], &Digest { hash: "../../etc/passwd".into(), size_bytes: 4 }),
        push(&["urn:x:1"], &Digest { size_bytes: -1, ..digest(b"x") }),
        push(&[ARTIFACT], &digest(b"\xff no artifact \xff")),
    ] {
        assert_eq!(refused(client.push.push_blob(bad).await), InvalidArgument);
    }
    server.stop().await;
}
