//! ActionCache: results as they were sent, and only while their outputs are there.

use bytes::Bytes;
use millpond_proto::EncodedActionResult;
use millpond_proto::reapi::{
    ActionResult, GetActionResultRequest, OutputDirectory, OutputFile, UpdateActionResultRequest,
};
use prost::Message;
use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound};
use tonic::Status;

use crate::server::{Client, TestServer, digest, ok, refused, unknown_digest};

async fn update(client: &mut Client, action: &[u8], result: Bytes) -> Result<Bytes, Status> {
    let request = UpdateActionResultRequest {
        action_digest: Some(digest(action)),
        action_result: result,
        ..Default::default()
    };
    client.actions.update_action_result(request).await.map(|kept| kept.into_inner().into_bytes())
}

async fn get(client: &mut Client, action: &[u8]) -> Result<Bytes, Status> {
    let request = GetActionResultRequest { action_digest: Some(digest(action)), ..Default::default() };
    let found = client.actions.get_action_result(request).await;
    found.map(|found| EncodedActionResult::into_bytes(found.into_inner()))
}

fn with_file(content: &[u8]) -> ActionResult {
    let file = OutputFile { path: "out".into(), digest: Some(digest(content)), ..Default::default() };
    ActionResult { output_files: vec![file], ..Default::default() }
}

#[tokio::test]
async fn result_comes_back_byte_for_byte_with_fields_that_we_do_not_know() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"output"]).await;
    let mut sent = vec![0x82, 0xfa, 0x01, 3, b'o', b'd', b'd'];
    with_file(b"output").encode(&mut sent).unwrap();
    let sent = Bytes::from(sent);
    assert_eq!(refused(get(&mut client, b"action").await), NotFound);
    assert_eq!(update(&mut client, b"action", sent.clone()).await.unwrap(), sent);
    assert_eq!(get(&mut client, b"action").await.unwrap(), sent);
    server.stop().await;
}

#[tokio::test]
async fn result_with_missing_outputs_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = OutputDirectory { tree_digest: Some(unknown_digest()), ..Default::default() };
    let root = OutputDirectory { root_directory_digest: Some(unknown_digest()), ..Default::default() };
    for result in [
        with_file(b"never uploaded"),
        ActionResult { output_directories: vec![tree], ..Default::default() },
        ActionResult { output_directories: vec![root], ..Default::default() },
        ActionResult { stdout_digest: Some(unknown_digest()), ..Default::default() },
        ActionResult { stderr_digest: Some(unknown_digest()), ..Default::default() },
    ] {
        let answer = update(&mut client, b"incomplete", result.encode_to_vec().into()).await;
        assert_eq!(refused(answer), FailedPrecondition);
        assert_eq!(refused(get(&mut client, b"incomplete").await), NotFound);
    }
    server.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_invalid() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let answer = update(&mut client, b"action", Bytes::from_static(b"\xff\xff\xff")).await;
    assert_eq!(refused(answer), InvalidArgument);
    let answer = client.actions.update_action_result(UpdateActionResultRequest::default()).await;
    assert_eq!(refused(answer), InvalidArgument);
    let answer = client.actions.get_action_result(GetActionResultRequest::default()).await;
    assert_eq!(refused(answer), InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn later_result_replaces_the_earlier() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for exit_code in 0..3 {
        let result = ActionResult { exit_code, ..Default::default() };
        update(&mut client, b"again", result.encode_to_vec().into()).await.unwrap();
        let found = ActionResult::decode(get(&mut client, b"again").await.unwrap()).unwrap();
        assert_eq!(found.exit_code, exit_code);
    }
    let mut reader = server.reader().await;
    let request = GetActionResultRequest { action_digest: Some(digest(b"again")), ..Default::default() };
    ok(reader.actions.get_action_result(request).await);
    server.stop().await;
}
