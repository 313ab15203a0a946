//! Instance names: names are separate, blobs are shared, unknown ones are refused.

use millpond_proto::asset::{FetchBlobRequest, PushBlobRequest};
use millpond_proto::buildstream::{GetReferenceRequest, StatusRequest};
use millpond_proto::bytestream::QueryWriteStatusRequest;
use millpond_proto::reapi;
use tonic::Code::{InvalidArgument, NotFound};

use crate::server::{TestServer, blob_name, digest, ok, refused, upload_name};

#[tokio::test]
async fn unknown_instance_is_invalid_everywhere() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let instance_name = || "nobody".to_owned();
    let request = reapi::GetCapabilitiesRequest { instance_name: instance_name() };
    assert_eq!(refused(client.capabilities.get_capabilities(request).await), InvalidArgument);
    let request = reapi::FindMissingBlobsRequest { instance_name: instance_name(), ..Default::default() };
    assert_eq!(refused(client.cas.find_missing_blobs(request).await), InvalidArgument);
    let request = reapi::BatchUpdateBlobsRequest { instance_name: instance_name(), ..Default::default() };
    assert_eq!(refused(client.cas.batch_update_blobs(request).await), InvalidArgument);
    let request = reapi::BatchReadBlobsRequest { instance_name: instance_name(), ..Default::default() };
    assert_eq!(refused(client.cas.batch_read_blobs(request).await), InvalidArgument);
    let request = reapi::GetTreeRequest {
        instance_name: instance_name(),
        root_digest: Some(digest(b"")),
        ..Default::default()
    };
    assert_eq!(refused(client.cas.get_tree(request).await), InvalidArgument);
    let request = reapi::GetActionResultRequest {
        instance_name: instance_name(),
        action_digest: Some(digest(b"")),
        ..Default::default()
    };
    assert_eq!(refused(client.actions.get_action_result(request).await), InvalidArgument);
    let request = FetchBlobRequest { instance_name: instance_name(), ..Default::default() };
    assert_eq!(refused(client.fetch.fetch_blob(request).await), InvalidArgument);
    let request = GetReferenceRequest { instance_name: instance_name(), key: "k".into() };
    assert_eq!(refused(client.references.get_reference(request).await), InvalidArgument);
    let request = StatusRequest { instance_name: instance_name() };
    assert_eq!(refused(client.references.status(request).await), InvalidArgument);
    let name = format!("nobody/{}", blob_name(&digest(b"x")));
    assert_eq!(refused(client.read(&name, 0, 0).await), InvalidArgument);
    let request = QueryWriteStatusRequest { resource_name: format!("nobody/{}", upload_name(b"x")) };
    assert_eq!(refused(client.bytes.query_write_status(request).await), InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn blobs_are_shared_and_names_are_not() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"shared"]).await;
    for instance in ["main", "team/a"] {
        let name = format!("{instance}/{}", blob_name(&digest(b"shared")));
        assert_eq!(client.read(&name, 0, 0).await.unwrap(), b"shared");
    }
    let push = PushBlobRequest {
        instance_name: "main".into(),
        uris: vec!["urn:x:1".into()],
        blob_digest: Some(digest(b"shared")),
        ..Default::default()
    };
    ok(client.push.push_blob(push).await);
    let fetch = |instance: &str| FetchBlobRequest {
        instance_name: instance.into(),
        uris: vec!["urn:x:1".into()],
        ..Default::default()
    };
    assert_eq!(ok(client.fetch.fetch_blob(fetch("main")).await).blob_digest, Some(digest(b"shared")));
    for instance in ["", "team/a"] {
        assert_eq!(refused(client.fetch.fetch_blob(fetch(instance)).await), NotFound);
    }
    server.stop().await;
}
