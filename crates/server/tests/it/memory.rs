//! Streams that wait for memory, and streams beside them that have it.

use std::time::Duration;

use bytes::Bytes;
use millpond_proto::bytestream::WriteRequest;
use millpond_server::Options;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::limits::call;
use crate::server::{Client, TestServer, content, messages};

const MIB: usize = 1024 * 1024;
const BATCH_UPDATE: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs";
/// Here three messages of 5 MiB leave no room for a fourth one of 4.
const LITTLE: u64 = 300 * MIB as u64;

/// Holds room for the first message of a call that writes, and brings just enough of it.
async fn hoard_first(client: Client) -> Status {
    let length = 5 * MIB as u32;
    let head = [&[0][..], &length.to_be_bytes(), &[0x12], &[0xfa, 0xff, 0xbf, 0x02]].concat();
    let pieces = tokio_stream::iter(
        std::iter::once(Bytes::from(head)).chain(std::iter::repeat_n(Bytes::from(vec![0; 32 * 1024]), 100)),
    );
    let pieces = pieces.then(async |piece| {
        sleep(Duration::from_millis(500)).await;
        Ok::<_, Status>(piece)
    });
    call(&client.channel, BATCH_UPDATE, axum::body::Body::from_stream(pieces)).await
}

/// An upload of which only the first message was sent.
async fn begun(client: &Client, blob: &[u8]) -> (mpsc::Sender<WriteRequest>, JoinSet<Result<i64, Status>>) {
    let (sender, receiver) = mpsc::channel(1);
    let first = messages(blob, 300_000).remove(0);
    sender.send(first).await.unwrap();
    let mut client = client.clone();
    let mut upload = JoinSet::new();
    upload.spawn(async move {
        let answer = client.bytes.write(ReceiverStream::new(receiver)).await?;
        Ok(answer.into_inner().committed_size)
    });
    (sender, upload)
}

async fn streams_that_wait_do_not_hold_up(waiting: u64) {
    let options = Options { request_memory: LITTLE, ..Options::default() };
    let server = TestServer::start_with(None, &options).await;
    let client = server.client().await;
    let blob = content(99, 30 * MIB);
    let (sender, mut upload) = begun(&client, &blob).await;
    sleep(Duration::from_millis(300)).await;
    let mut hoarders = JoinSet::new();
    for _ in 0..3 {
        hoarders.spawn(hoard_first(server.client().await));
    }
    sleep(Duration::from_millis(1500)).await;
    let mut waiters = JoinSet::new();
    for seed in 0..waiting {
        let mut client = client.clone();
        waiters.spawn(async move {
            let blobs: Vec<_> = (0..5).map(|blob| content(100 + 5 * seed + blob, 800_000)).collect();
            client.put(&blobs.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
        });
    }
    sleep(Duration::from_millis(500)).await;
    for message in messages(&blob, 300_000).into_iter().skip(1) {
        sender.send(message).await.unwrap();
    }
    assert_eq!(upload.join_next().await.unwrap().unwrap().unwrap(), blob.len() as i64);
    assert!(waiters.try_join_next().is_none(), "there was memory for all");
    assert!(hoarders.try_join_next().is_none(), "nobody took the memory");
    hoarders.shutdown().await;
    while let Some(waited) = waiters.join_next().await {
        waited.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn stream_that_waits_does_not_hold_up_another() {
    streams_that_wait_do_not_hold_up(1).await;
}

#[tokio::test]
async fn fifteen_streams_that_wait_do_not_hold_up_another() {
    streams_that_wait_do_not_hold_up(15).await;
}

/// What an upload has gathered is memory as well: who keeps it without going on makes room for who waits.
#[tokio::test]
async fn uploads_that_stand_still_give_way_to_one_that_waits() {
    let server = TestServer::start_with(None, &Options { request_memory: 0, ..Options::default() }).await;
    let mut idle = JoinSet::new();
    let mut senders = Vec::new();
    for seed in 0..5 {
        let blob = content(seed, 3_000_000);
        let (sender, mut upload) = begun(&server.client().await, &blob).await;
        senders.push(sender);
        idle.spawn(async move { upload.join_next().await.unwrap().unwrap() });
    }
    sleep(Duration::from_millis(300)).await;
    server.client().await.write(messages(&content(7, 3_000_000), 300_000)).await.unwrap();
    let ended = idle.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    assert!(ended.message().contains("for 5 seconds"), "{ended:?}");
    server.stop().await;
}

/// An upload that comes whole in one message needs no more than that message.
#[tokio::test]
async fn uploads_of_one_message_need_no_room_that_others_gather() {
    let server = TestServer::start_with(None, &Options { request_memory: 0, ..Options::default() }).await;
    let mut senders = Vec::new();
    for seed in 0..5 {
        senders.push(begun(&server.client().await, &content(seed, 3_000_000)).await);
    }
    sleep(Duration::from_millis(300)).await;
    let mut client = server.client().await;
    client.write(messages(&content(7, 3_000_000), 3_000_000)).await.unwrap();
    let none_ended = senders.iter_mut().all(|(_, upload)| upload.try_join_next().is_none());
    assert!(none_ended, "an upload had to give way");
    server.stop().await;
}
