//! ByteStream.Read.

use tonic::Code::{InvalidArgument, NotFound, OutOfRange};

use crate::server::{TestServer, blob_name, content, digest, refused, unknown_digest, upload_name};
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::reapi::Digest;

#[tokio::test]
async fn offset_and_limit_are_honoured() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let blob = content(1, 5_000_000);
    let half = blob.len() / 2;
    let message = |start: usize, end: usize| WriteRequest {
        resource_name: upload_name(&blob),
        write_offset: start as i64,
        finish_write: end == blob.len(),
        data: blob[start..end].to_vec().into(),
    };
    client.write(vec![message(0, half), message(half, blob.len())]).await.unwrap();
    let name = blob_name(&digest(&blob));
    for (offset, limit) in [
        (0, 0),
        (0, 1),
        (1, 0),
        (0, 5_000_000),
        (1_048_575, 2),
        (1_048_576, 1_048_576),
        (4_999_999, 100),
        (2_500_000, 0),
    ] {
        let end = if limit == 0 { blob.len() } else { blob.len().min(offset + limit) };
        let read = client.read(&name, offset as i64, limit as i64).await.unwrap();
        assert!(read == blob[offset..end], "offset {offset}, limit {limit}: {} bytes", read.len());
    }
    assert_eq!(client.read(&name, 5_000_000, 0).await.unwrap(), b"");
    assert_eq!(client.read(&name, 5_000_000, 7).await.unwrap(), b"");
    assert_eq!(refused(client.read(&name, 5_000_001, 0).await), OutOfRange);
    assert_eq!(refused(client.read(&name, -1, 0).await), OutOfRange);
    assert_eq!(refused(client.read(&name, i64::MAX, 0).await), OutOfRange);
    assert_eq!(refused(client.read(&name, 0, -1).await), InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn blobs_that_are_not_there_are_not_found() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"here"]).await;
    assert_eq!(
        client.read(&format!("{}/trailing", blob_name(&digest(b"here"))), 0, 0).await.unwrap(),
        b"here"
    );
    assert_eq!(client.read(&blob_name(&digest(b"")), 0, 0).await.unwrap(), b"");
    for gone in [
        unknown_digest(),
        Digest { size_bytes: 3, ..digest(b"here") },
        Digest { size_bytes: i64::MAX, ..digest(b"here") },
    ] {
        assert_eq!(refused(client.read(&blob_name(&gone), 0, 0).await), NotFound);
    }
    server.stop().await;
}

#[tokio::test]
async fn malformed_names_are_invalid() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let here = blob_name(&digest(b"here"));
    for name in [
        String::new(),
        "blobs".into(),
        "blobs/../../../../etc/passwd/4".into(),
        "/etc/passwd".into(),
        format!("/{here}"),
        format!("../{here}"),
        here.to_uppercase(),
        here.replace("/4", "/-4"),
        here.replace("/4", "/99999999999999999999"),
        here.replace("blobs/", "compressed-blobs/zstd/"),
        upload_name(b"here"),
        "blobs/\0/4".into(),
        "x".repeat(100_000),
    ] {
        assert_eq!(refused(client.read(&name, 0, 0).await), InvalidArgument, "{name:.100}");
    }
    server.stop().await;
}
