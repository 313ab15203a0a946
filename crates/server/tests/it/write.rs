//! ByteStream.Write and QueryWriteStatus.

use std::time::Duration;

use bytes::Bytes;
use millpond_proto::bytestream::{QueryWriteStatusRequest, QueryWriteStatusResponse, WriteRequest};
use tonic::Code::{InvalidArgument, NotFound};

use crate::server::{TestServer, blob_name, content, digest, ok, refused, upload_name};

/// A well-formed upload in messages of `piece` bytes, with the name on the first alone.
fn messages(name: &str, content: &[u8], piece: usize) -> Vec<WriteRequest> {
    let count = content.len().div_ceil(piece).max(1);
    (0..count)
        .map(|index| WriteRequest {
            resource_name: if index == 0 { name.to_owned() } else { String::new() },
            write_offset: (index * piece) as i64,
            finish_write: index + 1 == count,
            data: Bytes::copy_from_slice(&content[index * piece..content.len().min((index + 1) * piece)]),
        })
        .collect()
}

#[tokio::test]
async fn blobs_of_all_sizes_come_back() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for (seed, size) in [0, 1, 65_536, 1024 * 1024, 5_000_001, 40 * 1024 * 1024].into_iter().enumerate() {
        let blob = content(seed as u64 + 100, size);
        let written = client.write(messages(&upload_name(&blob), &blob, 2 * 1024 * 1024)).await;
        assert_eq!(written.unwrap(), size as i64);
        assert_eq!(client.read(&blob_name(&digest(&blob)), 0, 0).await.unwrap(), blob);
        let again = client.write(messages(&upload_name(&blob), &blob, 1024 * 1024)).await;
        assert_eq!(again.unwrap(), size as i64);
    }
    server.stop().await;
}

#[tokio::test]
async fn names_that_clients_write_are_taken() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for (seed, prefix, suffix) in
        [(1, "main/uploads/u/blobs/", "/meta/data"), (2, "", ""), (3, "uploads/x/blobs/", "")]
    {
        let blob = content(seed, 1000);
        let digest = digest(&blob);
        let name = format!("{prefix}{}/{}{suffix}", digest.hash, digest.size_bytes);
        assert_eq!(client.write(messages(&name, &blob, 300)).await.unwrap(), 1000);
        let bare = format!("{}/{}", digest.hash, digest.size_bytes);
        assert_eq!(client.read(&bare, 0, 0).await.unwrap(), blob);
    }
    server.stop().await;
}

#[tokio::test]
async fn present_blob_is_answered_before_it_was_sent() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let blob = content(7, 3_000_000);
    client.write(messages(&upload_name(&blob), &blob, 1_000_000)).await.unwrap();
    let mut first = messages(&upload_name(&blob), &blob, 1_000_000);
    first.truncate(1);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(first.remove(0)).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    assert_eq!(ok(client.bytes.write(stream).await).committed_size, 3_000_000);
    drop(sender);
    server.stop().await;
}

#[tokio::test]
async fn malformed_uploads_are_invalid_and_leave_nothing() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let blob = content(9, 3000);
    let name = upload_name(&blob);
    let good = || messages(&name, &blob, 1000);
    let change = |change: &dyn Fn(&mut Vec<WriteRequest>)| {
        let mut changed = good();
        change(&mut changed);
        changed
    };
    let cases: Vec<(&str, Vec<WriteRequest>)> = vec![
        ("no message", vec![]),
        ("first offset not 0", change(&|m| m[0].write_offset = 1)),
        ("negative offset", change(&|m| m[1].write_offset = -1000)),
        ("gap", change(&|m| m[1].write_offset = 1001)),
        ("repeat", change(&|m| m[2].write_offset = 1000)),
        ("name changed", change(&|m| m[1].resource_name = upload_name(b"other"))),
        ("no name", change(&|m| m[0].resource_name.clear())),
        ("a name to read", change(&|m| m[0].resource_name = blob_name(&digest(&blob)))),
        ("traversal", change(&|m| m[0].resource_name = "uploads/u/blobs/../../../etc/passwd/4".into())),
        ("compressed", change(&|m| m[0].resource_name = name.replace("/blobs/", "/compressed-blobs/zstd/"))),
        ("wrong content", change(&|m| m[1].data = Bytes::from(vec![0; 1000]))),
        ("too long", change(&|m| m[2].data = Bytes::from(vec![0; 1001]))),
        ("too short", change(&|m| m[2].data = Bytes::from(vec![0; 999]))),
        ("finished early", change(&|m| m[1].finish_write = true)),
        ("not finished", change(&|m| m[2].finish_write = false)),
        ("cut short", change(&|m| m.truncate(2))),
    ];
    for (case, messages) in cases {
        let answer = client.write(messages).await;
        assert!(answer.is_err(), "{case}");
        assert_eq!(refused(answer), InvalidArgument, "{case}");
        assert_eq!(client.missing(vec![digest(&blob)]).await.unwrap(), [digest(&blob)], "{case}");
    }
    assert_eq!(client.write(good()).await.unwrap(), 3000);
    server.stop().await;
}

#[tokio::test]
async fn same_blob_under_the_same_name_at_the_same_time() {
    let server = TestServer::start().await;
    let blob = content(11, 8 * 1024 * 1024);
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = server.client().await;
        let messages = messages(&upload_name(&blob), &blob, 64 * 1024);
        writes.spawn(async move { client.write(messages).await.unwrap() });
    }
    while let Some(written) = writes.join_next().await {
        assert_eq!(written.unwrap(), blob.len() as i64);
    }
    let mut client = server.client().await;
    assert_eq!(client.read(&blob_name(&digest(&blob)), 0, 0).await.unwrap(), blob);
    server.stop().await;
}

#[tokio::test]
async fn cancelled_upload_leaves_nothing_and_the_next_succeeds() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let blob = content(13, 4_000_000);
    let mut some = messages(&upload_name(&blob), &blob, 1_000_000);
    some.truncate(2);
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    for message in some {
        sender.send(message).await.unwrap();
    }
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let cut = tokio::time::timeout(Duration::from_millis(300), client.bytes.write(stream)).await;
    assert!(cut.is_err(), "an unfinished upload was answered");
    assert_eq!(client.missing(vec![digest(&blob)]).await.unwrap(), [digest(&blob)]);
    let written = client.write(messages(&upload_name(&blob), &blob, 1_000_000)).await;
    assert_eq!(written.unwrap(), 4_000_000);
    server.stop().await;
}

#[tokio::test]
async fn write_status_is_complete_or_not_found() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let query = |name: String| QueryWriteStatusRequest { resource_name: name };
    assert_eq!(refused(client.bytes.query_write_status(query(upload_name(b"later"))).await), NotFound);
    client.put(&[b"later"]).await;
    let status = ok(client.bytes.query_write_status(query(upload_name(b"later"))).await);
    assert_eq!(status, QueryWriteStatusResponse { committed_size: 5, complete: true });
    assert_eq!(refused(client.bytes.query_write_status(query("uploads/x".into())).await), InvalidArgument);
    server.stop().await;
}
