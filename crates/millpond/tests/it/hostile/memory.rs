//! Clients that announce large messages, send most of them, and then keep what they have waiting.

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::reapi::Digest;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, header};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::Scene;
use crate::battery::{Blob, Client};

const GRPC: &str = "application/grpc";
const FIND_MISSING: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs";
const BATCH_UPDATE: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs";
const WRITE: &str = "/google.bytestream.ByteStream/Write";
const MIB: usize = 1024 * 1024;
const ATTACKERS: usize = 200;
/// What the server may hold of requests, and what its 200 connections and it itself take on top.
const BUDGET: &str = "128MiB";
const BUDGET_BYTES: usize = 128 * MIB;
const CONNECTION_BYTES: usize = 256 * 1024;
const ITSELF_BYTES: usize = 64 * MIB;

/// Whole messages, then the head of another one, most of it, and then a byte each second.
fn trickling(whole: Vec<Bytes>, message_bytes: usize) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in whole {
            sender.send(Ok::<_, Infallible>(piece)).await?;
        }
        let mut head = [&[0][..], &u32::try_from(message_bytes).unwrap().to_be_bytes()].concat();
        // One field as long as the message, or its zeros would be refused for being so many fields.
        head.push(0x52);
        prost::encode_length_delimiter(message_bytes - 5, &mut head).unwrap();
        let mut pieces = vec![Bytes::from(vec![0; 64 * 1024]); message_bytes / (64 * 1024) - 1];
        pieces.insert(0, Bytes::from(head));
        for piece in pieces {
            sender.send(Ok(piece)).await?;
        }
        loop {
            sleep(Duration::from_secs(1)).await;
            sender.send(Ok(Bytes::from_static(&[0]))).await?;
        }
        #[expect(unreachable_code, reason = "it ends when the body is dropped")]
        Ok::<_, mpsc::error::SendError<_>>(())
    });
    Body::new(axum::body::Body::from_stream(ReceiverStream::new(receiver)))
}

/// Whole messages, and then nothing.
fn standing_still(whole: Vec<Bytes>) -> Body {
    let pieces = tokio_stream::iter(whole.into_iter().map(Ok::<_, Infallible>));
    Body::new(axum::body::Body::from_stream(pieces.chain(tokio_stream::pending())))
}

/// The first messages of an upload, of so many bytes each.
fn begun_upload(seed: u64, sizes: &[usize]) -> Vec<Bytes> {
    let name = format!("uploads/2b1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{seed:064x}/{}", 8 * MIB);
    let mut offset = 0;
    let messages = sizes.iter().map(|size| {
        let (resource_name, data) = (name.clone(), vec![7; *size].into());
        let message = WriteRequest { resource_name, write_offset: offset, data, finish_write: false };
        offset += *size as i64;
        framed(&message.encode_to_vec())
    });
    messages.collect()
}

fn framed(message: &[u8]) -> Bytes {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat().into()
}

/// One who sends so much of a request and then no more to speak of, and begins anew when he is ended.
async fn attack(url: String, method: &'static str, message_bytes: usize, kind: &'static str) {
    hoard(url, method, kind, move || trickling(Vec::new(), message_bytes), Arc::default()).await;
}

async fn hoard(
    url: String,
    method: &'static str,
    kind: &'static str,
    body: impl Fn() -> Body,
    late: Arc<AtomicUsize>,
) {
    loop {
        let Ok(mut channel) = Endpoint::from_shared(url.clone()).unwrap().connect().await else { return };
        let request = Request::post(format!("{url}{method}"))
            .header(header::CONTENT_TYPE, kind)
            .header(header::TE, "trailers")
            .body(body())
            .unwrap();
        if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_err() {
            return;
        }
        // Whoever is refused comes again.
        let answer = channel.call(request).await;
        let code = answer.ok().and_then(|answer| Status::from_header_map(answer.headers()));
        if code.is_some_and(|status| status.code() == Code::DeadlineExceeded) {
            late.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The most memory that the server ever had, in bytes.
pub(super) fn memory(scene: &Scene) -> usize {
    let text = fs::read_to_string(format!("/proc/{}/status", scene.server.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Small requests need nothing that others could have.
fn small_requests_go_on(scene: &mut Scene) {
    let blob = Blob::new(scene.random.bytes(30_000));
    let url = scene.server.url().to_owned();
    scene.runtime.block_on(async {
        let mut client = Client::connect(&url).await.unwrap();
        client.update(std::slice::from_ref(&blob)).await.unwrap();
        assert_eq!(client.missing(vec![blob.digest.clone()]).await.unwrap(), []);
        assert!(client.read(&blob.digest).await.unwrap() == blob.content);
    });
}

fn besieged(method: &'static str, message_bytes: usize, meanwhile: fn(&mut Scene)) {
    besieged_by(move |url| attack(url, method, message_bytes, GRPC), meanwhile);
}

fn besieged_by<A>(attack: impl Fn(String) -> A, meanwhile: fn(&mut Scene))
where
    A: Future<Output = ()> + Send + 'static,
{
    let mut scene = Scene::with(&["--request-memory", BUDGET]);
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        attackers.spawn_on(attack(scene.server.url().to_owned()), scene.runtime.handle());
    }
    let bound = BUDGET_BYTES + ATTACKERS * CONNECTION_BYTES + ITSELF_BYTES;
    for _ in 0..5 {
        scene.runtime.block_on(async { sleep(Duration::from_secs(1)).await });
        meanwhile(&mut scene);
        let most = memory(&scene);
        assert!(most < bound, "{most} bytes were held, which is more than {bound}");
    }
    assert!(attackers.try_join_next().is_none(), "an attacker gave up");
    scene.runtime.block_on(attackers.shutdown());
    until_their_memory_is_back(&mut scene);
    scene.others_notice_nothing();
}

/// The server learns that they are gone from their connections, of which there are hundreds.
fn until_their_memory_is_back(scene: &mut Scene) {
    let blob = Blob::new(scene.random.bytes(300_000));
    let url = scene.server.url().to_owned();
    scene.runtime.block_on(async {
        let mut client = Client::connect(&url).await.unwrap();
        for _ in 0..600 {
            if client.update(std::slice::from_ref(&blob)).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the memory of attackers who are gone is not given back");
    });
}

#[test]
fn large_messages_that_do_not_end() {
    besieged(BATCH_UPDATE, 16 * MIB, Scene::others_notice_nothing);
}

/// Nothing here asks whether a request says that it is gRPC before it is read.
#[test]
fn large_messages_under_another_name_that_do_not_end() {
    besieged_by(|url| attack(url, BATCH_UPDATE, 16 * MIB, "text/plain"), Scene::others_notice_nothing);
}

#[test]
fn ordinary_messages_that_do_not_end() {
    besieged(BATCH_UPDATE, 4 * MIB, small_requests_go_on);
}

#[test]
fn first_messages_of_uploads_that_do_not_end() {
    besieged(WRITE, 4 * MIB, small_requests_go_on);
}

/// Each of them three at a time, on a connection each.
#[test]
fn uploads_that_begin_and_do_not_end() {
    besieged_by(
        |url| async move {
            let upload = |seed| {
                hoard(
                    url.clone(),
                    WRITE,
                    GRPC,
                    move || standing_still(begun_upload(seed, &[950_000; 2])),
                    Arc::default(),
                )
            };
            tokio::join!(upload(1), upload(2), upload(3));
        },
        small_requests_go_on,
    );
}

/// Slow clients that keep all memory of each kind. Whoever comes waits for one of them to be ended, and gets on.
#[test]
fn slow_clients_of_every_kind_give_way_to_an_honest_one() {
    let mut scene = Scene::with(&["--request-memory", "96MiB"]);
    let url = scene.server.url().to_owned();
    let mut hoarders = JoinSet::new();
    let late = Arc::<AtomicUsize>::default();
    let mut hoard = |method, body: Box<dyn Fn() -> Body + Send>| {
        let hoard = hoard(url.clone(), method, GRPC, body, Arc::clone(&late));
        hoarders.spawn_on(hoard, scene.runtime.handle());
    };
    for seed in 0..2 {
        hoard(FIND_MISSING, Box::new(|| trickling(Vec::new(), 5 * MIB - MIB / 8)));
        hoard(BATCH_UPDATE, Box::new(|| trickling(Vec::new(), 5 * MIB - MIB / 8)));
        hoard(WRITE, Box::new(move || trickling(begun_upload(seed, &[50_000]), 5 * MIB - MIB / 8)));
    }
    for seed in 2..6 {
        hoard(WRITE, Box::new(move || trickling(begun_upload(seed, &[50_000]), MIB / 8)));
    }
    let one = Blob::new(scene.random.bytes(3_000_000));
    let many: Vec<Blob> = (0..4).map(|_| Blob::new(scene.random.bytes(300_000))).collect();
    scene.runtime.block_on(async {
        sleep(Duration::from_secs(1)).await;
        let mut client = Client::connect(&url).await.unwrap();
        let mut asked: Vec<_> = many.iter().map(|blob| blob.digest.clone()).collect();
        let strange = |number| Digest { hash: format!("{number:064x}").into(), size_bytes: 7 };
        asked.extend((0..2000).map(strange));
        assert_eq!(client.missing(asked.clone()).await.unwrap().len(), asked.len());
        client.update(&many).await.unwrap();
        client.write(&one, 1_500_000, usize::MAX).await.unwrap();
        assert_eq!(client.missing(asked.clone()).await.unwrap().len(), asked.len() - many.len());
        assert!(client.read(&one.digest).await.unwrap() == one.content);
        asked.truncate(many.len());
        let read = client.read_batch(asked).await.unwrap();
        assert!(
            read.iter().zip(&many).all(|((_, content, code), blob)| *code == 0 && *content == blob.content)
        );
    });
    assert!(hoarders.try_join_next().is_none(), "a hoarder gave up");
    scene.runtime.block_on(hoarders.shutdown());
    // One who kept a kind of memory from the honest one, at the least, for each kind.
    let late = late.load(Ordering::Relaxed);
    assert!(late >= 4, "{late} slow calls were ended");
    scene.others_notice_nothing();
}
