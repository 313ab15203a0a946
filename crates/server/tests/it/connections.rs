//! Connections: pings, broken clients, unknown methods, shutting down.

use std::time::Duration;

use bytes::Bytes;
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::reapi::FindMissingBlobsRequest;
use millpond_server::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code::{self, Unimplemented};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::server::{Client, TestServer, content, digest, refused, unknown_digest, upload_name};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// The type and flags of the frames that come until one fits, which is the last.
async fn frames_until(stream: &mut TcpStream, last: (u8, u8)) -> Vec<(u8, u8)> {
    let mut frames = Vec::new();
    while frames.last() != Some(&last) {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        frames.push((head[3], head[4]));
    }
    frames
}

#[tokio::test]
async fn many_pings_in_quick_succession_are_all_answered() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.open).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&EMPTY_SETTINGS).await.unwrap();
    for _ in 0..100 {
        stream.write_all(&PING).await.unwrap();
        let frames = frames_until(&mut stream, (6, 1)).await;
        assert!(frames.iter().all(|(kind, _)| *kind != 7), "GOAWAY: {frames:?}");
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn garbage_and_half_requests_do_not_disturb_others() {
    let server = TestServer::start().await;
    let mut broken = Vec::new();
    for garbage in
        [&b"\x16\x03\x01 TLS?"[..], b"GET / HT", b"PRI * HTTP/2.0\r\n\r\nXX", &PREFACE[..10], b"\0\0\0"]
    {
        let mut stream = TcpStream::connect(server.open).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        broken.push(stream);
    }
    let mut client = server.client().await;
    assert_eq!(client.missing(vec![unknown_digest()]).await.unwrap(), [unknown_digest()]);
    drop(broken);
    server.stop().await;
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let server = TestServer::start().await;
    let client = server.client().await;
    for path in [
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob",
        "/build.bazel.remote.execution.v2.Execution/Execute",
        "/buildstream.v2.ArtifactService/GetArtifact",
    ] {
        let mut grpc = Grpc::new(client.channel.clone());
        grpc.ready().await.unwrap();
        let codec: ProstCodec<FindMissingBlobsRequest, FindMissingBlobsRequest> = ProstCodec::default();
        let request = tonic::Request::new(FindMissingBlobsRequest::default());
        let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
        assert_eq!(answer.unwrap_err().code(), Unimplemented, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn shutdown_lets_a_call_under_way_finish() {
    let server = TestServer::start().await;
    let address = server.open;
    let mut client = server.client().await;
    let blob = content(1, 2_000_000);
    let message = |start: usize, finish_write| WriteRequest {
        resource_name: upload_name(&blob),
        write_offset: start as i64,
        finish_write,
        data: Bytes::copy_from_slice(&blob[start..start + 1_000_000]),
    };
    let (sender, receiver) = mpsc::channel(2);
    sender.send(message(0, false)).await.unwrap();
    let writing = tokio::spawn(async move { client.bytes.write(ReceiverStream::new(receiver)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(address).await.is_err(), "still accepting");
    assert!(!stopping.is_finished());
    sender.send(message(1_000_000, true)).await.unwrap();
    assert_eq!(writing.await.unwrap().unwrap().into_inner().committed_size, 2_000_000);
    stopping.await.unwrap();
}

#[tokio::test]
async fn shutdown_cuts_a_call_that_does_not_end() {
    let options = Options { drain: Duration::from_millis(300), ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let mut client = server.client().await;
    let (sender, receiver) = mpsc::channel(1);
    let first = WriteRequest { resource_name: upload_name(b"never"), ..Default::default() };
    sender.send(first).await.unwrap();
    let writing = tokio::spawn(async move { client.bytes.write(ReceiverStream::new(receiver)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop().await;
    assert_ne!(refused(writing.await.unwrap()), Code::Ok);
    drop(sender);
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn call_that_crosses_the_end_of_an_idle_connection_goes_on() {
    let (idle, drain) = (Duration::from_millis(300), Duration::from_millis(300));
    let server = TestServer::start_with(None, &Options { idle, drain, ..Options::default() }).await;
    let mut stream = TcpStream::connect(server.open).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&EMPTY_SETTINGS).await.unwrap();
    frames_until(&mut stream, (7, 0)).await;
    let path = b"/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs";
    // POST, http, then path and content type without compression.
    let kind = b"application/grpc";
    let headers = [
        &[0x83, 0x86, 0x04, path.len() as u8][..],
        path,
        &[0x0f, 0x10, kind.len() as u8],
        kind,
        &[0x00, 2],
        b"te",
        &[8],
        b"trailers",
    ];
    stream.write_all(&frame(1, 4, 1, &headers.concat())).await.unwrap();
    tokio::time::sleep(4 * drain).await;
    stream.write_all(&frame(0, 1, 1, &[0; 5])).await.unwrap();
    frames_until(&mut stream, (1, 5)).await;
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let options = Options { connections_max: 2, ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let first = server.client().await;
    let second = server.client().await;
    let mut waiting = TcpStream::connect(server.open).await.unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let turn = waiting.read_to_string(&mut answer);
    assert!(tokio::time::timeout(Duration::from_millis(300), turn).await.is_err(), "{answer}");
    drop((first, second));
    answer.clear();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn hundreds_of_calls_on_one_connection() {
    let server = TestServer::start().await;
    let client: Client = server.client().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500_u64 {
        let mut client = client.clone();
        calls.spawn(async move {
            let blob = content(number, 1000);
            client.put(&[&blob]).await;
            client.missing(vec![digest(&blob)]).await.unwrap().len()
        });
    }
    while let Some(missing) = calls.join_next().await {
        assert_eq!(missing.unwrap(), 0);
    }
    server.stop().await;
}
