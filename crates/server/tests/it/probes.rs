//! What each generation asks before anything else, row by row.

use millpond_proto::asset::{FetchBlobRequest, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest};
use millpond_proto::buildstream::{StatusRequest, UpdateReferenceRequest};
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::reapi;
use tonic::Code::{InvalidArgument, PermissionDenied, Unimplemented};

use crate::server::{Client, TestServer, digest, ok, refused, upload_name};

#[tokio::test]
async fn open_listener_answers_the_probes() {
    let server = TestServer::start().await;
    for mut client in [server.client().await, server.buildstream1().await] {
        assert_eq!(refused(client.fetch.fetch_blob(FetchBlobRequest::default()).await), InvalidArgument);
        let fetched = client.fetch.fetch_directory(FetchDirectoryRequest::default()).await;
        assert_eq!(refused(fetched), InvalidArgument);
        assert_eq!(refused(client.push.push_blob(PushBlobRequest::default()).await), InvalidArgument);
        let pushed = client.push.push_directory(PushDirectoryRequest::default()).await;
        assert_eq!(refused(pushed), InvalidArgument);
        assert_eq!(
            ok(client.cas.batch_read_blobs(reapi::BatchReadBlobsRequest::default()).await).responses,
            []
        );
        let updated = client.cas.batch_update_blobs(reapi::BatchUpdateBlobsRequest::default()).await;
        assert_eq!(ok(updated).responses, []);
        assert!(ok(client.references.status(StatusRequest::default()).await).allow_updates);
        assert_eq!(client.missing(vec![]).await.unwrap(), []);
    }
    server.stop().await;
}

#[tokio::test]
async fn pull_only_listener_answers_the_probes() {
    let server = TestServer::start().await;
    let mut client = server.reader().await;
    assert_eq!(refused(client.fetch.fetch_blob(FetchBlobRequest::default()).await), InvalidArgument);
    let fetched = client.fetch.fetch_directory(FetchDirectoryRequest::default()).await;
    assert_eq!(refused(fetched), InvalidArgument);
    assert_eq!(ok(client.cas.batch_read_blobs(reapi::BatchReadBlobsRequest::default()).await).responses, []);
    assert!(!ok(client.references.status(StatusRequest::default()).await).allow_updates);
    let pushed = client.push.push_blob(PushBlobRequest::default()).await;
    assert!(pushed.as_ref().unwrap_err().message().contains("push: true"), "{pushed:?}");
    assert_eq!(refused(pushed), PermissionDenied);
    let pushed = client.push.push_directory(PushDirectoryRequest::default()).await;
    assert_eq!(refused(pushed), Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn pull_only_listener_denies_every_write() {
    let server = TestServer::start().await;
    let mut client = server.reader().await;
    let uris = vec!["urn:fdc:buildstream.build:2020:artifact:p/e/k".to_owned()];
    let blob_digest = Some(digest(b"x"));
    let push = PushBlobRequest { uris: uris.clone(), blob_digest: blob_digest.clone(), ..Default::default() };
    assert_eq!(refused(client.push.push_blob(push).await), PermissionDenied);
    let root_directory_digest = blob_digest.clone();
    let push = PushDirectoryRequest { uris, root_directory_digest, ..Default::default() };
    assert_eq!(refused(client.push.push_directory(push).await), PermissionDenied);
    let updated = client.cas.batch_update_blobs(reapi::BatchUpdateBlobsRequest::default()).await;
    assert_eq!(refused(updated), PermissionDenied);
    let update = UpdateReferenceRequest {
        keys: vec!["p/e/k".into()],
        digest: blob_digest.clone(),
        ..Default::default()
    };
    assert_eq!(refused(client.references.update_reference(update).await), PermissionDenied);
    assert_eq!(
        refused(client.references.update_reference(UpdateReferenceRequest::default()).await),
        PermissionDenied
    );
    let update = reapi::UpdateActionResultRequest { action_digest: blob_digest, ..Default::default() };
    assert_eq!(refused(client.actions.update_action_result(update).await), PermissionDenied);
    let message = WriteRequest {
        resource_name: upload_name(b"x"),
        data: b"x"[..].into(),
        finish_write: true,
        ..Default::default()
    };
    assert_eq!(refused(client.write(vec![message]).await), PermissionDenied);
    assert_eq!(client.missing(vec![digest(b"x")]).await.unwrap(), [digest(b"x")]);
    server.stop().await;
}

async fn cache_capabilities(mut client: Client) -> reapi::CacheCapabilities {
    let request = reapi::GetCapabilitiesRequest::default();
    let capabilities = ok(client.capabilities.get_capabilities(request).await);
    let version = capabilities.high_api_version.unwrap();
    assert!((version.major, version.minor) >= (2, 3));
    assert_eq!(capabilities.low_api_version.unwrap().major, 2);
    capabilities.cache_capabilities.unwrap()
}

#[tokio::test]
async fn capabilities_name_the_batch_limit_that_suits_each_generation() {
    let server = TestServer::start().await;
    for (client, limit) in [
        (server.client().await, 4_128_768),
        (server.buildstream1().await, 256 * 1024),
        (Client::connect(server.open, "bazel/7.0 grpc-java-netty/1.48").await, 4_128_768),
    ] {
        let capabilities = cache_capabilities(client).await;
        assert_eq!(capabilities.max_batch_total_size_bytes, limit);
        assert_eq!(capabilities.digest_functions, [reapi::digest_function::Value::Sha256 as i32]);
        let allowed = reapi::symlink_absolute_path_strategy::Value::Allowed as i32;
        assert_eq!(capabilities.symlink_absolute_path_strategy, allowed);
        assert!(capabilities.max_cas_blob_size_bytes > 0);
        assert!(capabilities.action_cache_update_capabilities.unwrap().update_enabled);
    }
    let capabilities = cache_capabilities(server.reader().await).await;
    assert!(!capabilities.action_cache_update_capabilities.unwrap().update_enabled);
    server.stop().await;
}
