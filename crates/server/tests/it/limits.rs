//! What clients may take up: memory, time, connections.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use millpond_proto::bytestream::ReadRequest;
use millpond_server::Options;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, header};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::server::{TestServer, blob_name, content, digest, messages, ok, upload_name};

const METHODS: [&str; 9] = [
    "/build.bazel.remote.asset.v1.Fetch/FetchBlob",
    "/build.bazel.remote.asset.v1.Push/PushDirectory",
    "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
    "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree",
    "/buildstream.v2.ReferenceStorage/GetReference",
    "/google.bytestream.ByteStream/Write",
    "/grpc.health.v1.Health/Check",
];
const FIND_MISSING: &str = METHODS[4];
const WRITE: &str = METHODS[7];

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Bytes {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat().into()
}

/// Calls a method with a body of these pieces and whatever follows; what its answer ends with.
pub async fn call(channel: &Channel, method: &str, body: axum::body::Body) -> Status {
    let request = Request::post(format!("http://pond{method}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::new(body))
        .unwrap();
    let mut channel = channel.clone();
    poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let (parts, body) = channel.call(request).await.unwrap().into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return status;
    }
    let mut body = axum::body::Body::new(body);
    loop {
        use http_body::Body;
        let frame = poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await;
        if let Some(trailers) = frame.unwrap().unwrap().trailers_ref() {
            return Status::from_header_map(trailers).unwrap();
        }
    }
}

fn body(pieces: Vec<Bytes>) -> axum::body::Body {
    axum::body::Body::from_stream(tokio_stream::iter(pieces.into_iter().map(Ok::<_, Status>)))
}

/// A body that does not end.
fn open_body(pieces: Vec<Bytes>) -> axum::body::Body {
    let pieces = tokio_stream::iter(pieces.into_iter().map(Ok::<_, Status>));
    axum::body::Body::from_stream(pieces.chain(futures_util::stream::pending()))
}

#[track_caller]
fn is_for_the_client(status: &Status, code: Code) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(": "), "{status:?} does not say what to do");
    assert!(!status.message().contains("Protobuf"), "{status:?}");
}

#[tokio::test]
async fn what_is_no_message_is_invalid_for_every_service() {
    let server = TestServer::start().await;
    let client = server.client().await;
    for method in METHODS {
        for (case, pieces) in [
            ("no field", vec![framed(&[0xff; 20])]),
            ("cut field", vec![framed(&[0x0a, 200, 1])]),
            ("cut message", vec![framed(&[0x0a; 50]).slice(..20)]),
            ("a flag that is none", vec![Bytes::from_static(&[7, 0, 0, 0, 1, 0])]),
        ] {
            let status = call(&client.channel, method, body(pieces)).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{method}, {case}");
            is_for_the_client(&status, Code::InvalidArgument);
        }
    }
    let after_the_first = vec![framed(&first_of_upload(1000)), framed(&[0xff; 20])];
    is_for_the_client(&call(&client.channel, WRITE, body(after_the_first)).await, Code::InvalidArgument);
    server.stop().await;
}

fn first_of_upload(bytes: usize) -> Vec<u8> {
    let resource_name = upload_name(&content(1, bytes));
    millpond_proto::bytestream::WriteRequest { resource_name, ..Default::default() }.encode_to_vec()
}

#[tokio::test]
async fn message_of_too_many_entries_or_a_second_one_is_invalid() {
    let server = TestServer::start().await;
    let client = server.client().await;
    // Each of these two bytes would become a digest of its own.
    let many = framed(&[0x12, 0].repeat(300_000));
    is_for_the_client(&call(&client.channel, FIND_MISSING, body(vec![many])).await, Code::InvalidArgument);
    let two = vec![framed(&[]), framed(&[])];
    is_for_the_client(&call(&client.channel, FIND_MISSING, body(two)).await, Code::InvalidArgument);
    server.stop().await;
}

/// One message after the other on one stream, each of which takes most of the memory for such.
#[tokio::test]
async fn uploads_of_large_messages_go_through_little_memory() {
    let server = TestServer::start_with(None, &Options { request_memory: 0, ..Options::default() }).await;
    let mut uploads = tokio::task::JoinSet::new();
    for seed in 0..4 {
        let mut client = server.client().await;
        uploads.spawn(async move {
            let blob = content(seed, 36_000_000);
            client.write(messages(&blob, 4_500_000)).await.unwrap();
            assert!(client.read(&blob_name(&digest(&blob)), 0, 0).await.unwrap() == blob);
        });
    }
    while let Some(upload) = uploads.join_next().await {
        upload.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn message_of_a_stream_that_is_too_large_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let refused = client.write(messages(&content(1, 6_000_000), 6_000_000)).await.unwrap_err();
    is_for_the_client(&refused, Code::ResourceExhausted);
    client.write(messages(&content(1, 6_000_000), 5_000_000)).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn slow_request_gives_way_to_one_that_waits() {
    let server = TestServer::start_with(None, &Options { request_memory: 0, ..Options::default() }).await;
    let (slow, mut quick) = (server.client().await, server.client().await);
    let head = Bytes::from_static(&[0, 0, 0xff, 0xff, 0xff]);
    let slow = tokio::spawn(async move {
        call(&slow.channel, FIND_MISSING, open_body(vec![head.slice(..1), head.slice(1..)])).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let blobs: Vec<_> = (0..16).map(|seed| content(seed, 900_000)).collect();
    quick.put(&blobs.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
    let slow = slow.await.unwrap();
    is_for_the_client(&slow, Code::DeadlineExceeded);
    assert!(slow.message().contains("for 5 seconds"), "{slow:?}");
    server.stop().await;
}

#[tokio::test]
async fn answer_that_nobody_reads_is_ended_and_the_connection_goes_on() {
    let options = Options { unread: Duration::from_millis(500), ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let mut client = server.client().await;
    let blob = content(3, 10_000_000);
    client.write(messages(&blob, 1_000_000)).await.unwrap();
    let resource_name = blob_name(&digest(&blob));
    let mut unread = ok(client.bytes.read(ReadRequest { resource_name, ..Default::default() }).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ended = loop {
        match unread.message().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    assert!(ended.is_some(), "an answer was kept for a client that did not read");
    assert_eq!(client.missing(vec![]).await.unwrap(), []);
    server.stop().await;
}

/// One that would wait as a whole in the buffers of HTTP/2, whose call has nothing more to do.
#[tokio::test]
async fn answer_of_one_piece_that_nobody_reads_is_ended_as_well() {
    let options = Options { unread: Duration::from_millis(500), ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let blob = content(3, 250_000);
    server.client().await.put(&[&blob]).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.open)).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let mut bytes = millpond_proto::bytestream::byte_stream_client::ByteStreamClient::new(channel);
    let request = ReadRequest { resource_name: blob_name(&digest(&blob)), ..Default::default() };
    let mut unread = ok(bytes.read(request.clone()).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(unread.message().await.is_err(), "an answer was kept for a client that did not read");
    assert_eq!(ok(bytes.read(request).await).message().await.unwrap().unwrap().data, blob);
    server.stop().await;
}

#[tokio::test]
async fn client_that_takes_nothing_from_its_socket_is_cut_off() {
    let options = Options { unread: Duration::from_secs(1), ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let mut client = server.client().await;
    client.put(&[&content(4, 1_000_000)]).await;
    let mut stream = TcpStream::connect(server.metrics).await.unwrap();
    // More answers than the buffers of both sides hold.
    let writing = async {
        loop {
            if stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), writing).await.expect("it was kept");
    server.stop().await;
}

#[tokio::test]
async fn idle_connection_is_told_to_go_and_a_busy_one_stays() {
    let options = Options { idle: Duration::from_secs(1), ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let mut idle = TcpStream::connect(server.open).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut busy = server.client().await;
    let begun = messages(b"an upload that goes on", 10).into_iter().take(1);
    let upload = tokio_stream::iter(begun).chain(tokio_stream::pending());
    let mut uploading = tokio::spawn(async move { busy.bytes.write(upload).await });
    let mut told = Vec::new();
    idle.read_to_end(&mut told).await.unwrap();
    let goaway = [7, 0, 0, 0, 0, 0];
    assert!(told.windows(6).any(|bytes| bytes == goaway), "{told:?}");
    let more = tokio::time::timeout(Duration::from_secs(2), &mut uploading).await;
    assert!(more.is_err(), "a busy connection was ended: {more:?}");
    uploading.abort();
    server.stop().await;
}

#[tokio::test]
async fn watch_of_health_ends_with_the_server_and_does_not_hold_it_up() {
    let server =
        TestServer::start_with(None, &Options { drain: Duration::from_secs(30), ..Options::default() }).await;
    let channel = Endpoint::from_shared(format!("http://{}", server.open)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut watching = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watching.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let stopping = tokio::spawn(server.stop());
    assert_eq!(watching.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watching.message().await.unwrap().is_none());
    stopping.await.unwrap();
}
