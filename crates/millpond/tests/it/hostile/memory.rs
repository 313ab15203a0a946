//! Clients that announce large messages, send most of them, and then keep what they have waiting.

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, header};
use tonic::transport::Endpoint;

use super::Scene;
use crate::battery::{Blob, Client};

const MIB: usize = 1024 * 1024;
const ATTACKERS: usize = 200;
/// What the server may hold of requests, and what its 200 connections and it itself take on top.
const BUDGET: &str = "128MiB";
const BUDGET_BYTES: usize = 128 * MIB;
const CONNECTION_BYTES: usize = 256 * 1024;
const ITSELF_BYTES: usize = 64 * MIB;

/// The head of a message, most of it, and then a byte each second.
fn trickling(message_bytes: usize) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut head = [&[0][..], &u32::try_from(message_bytes).unwrap().to_be_bytes()].concat();
        // One field as long as the message, or its zeros would be refused for being so many fields.
        head.push(0x52);
        prost::encode_length_delimiter(message_bytes - 5, &mut head).unwrap();
        let mut pieces = vec![Bytes::from(vec![0; 64 * 1024]); message_bytes / (64 * 1024) - 1];
        pieces.insert(0, Bytes::from(head));
        for piece in pieces {
            sender.send(Ok::<_, Infallible>(piece)).await?;
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

async fn attack(url: String, method: &'static str, message_bytes: usize, kind: &'static str) {
    loop {
        let Ok(mut channel) = Endpoint::from_shared(url.clone()).unwrap().connect().await else { return };
        let request = Request::post(format!("{url}{method}"))
            .header(header::CONTENT_TYPE, kind)
            .header(header::TE, "trailers")
            .body(trickling(message_bytes))
            .unwrap();
        if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_err() {
            return;
        }
        // Whoever is refused comes again.
        let _ = channel.call(request).await;
        sleep(Duration::from_millis(100)).await;
    }
}

/// The most memory that the server ever had, in bytes.
fn memory(scene: &Scene) -> usize {
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
    besieged_with("application/grpc", method, message_bytes, meanwhile);
}

fn besieged_with(kind: &'static str, method: &'static str, message_bytes: usize, meanwhile: fn(&mut Scene)) {
    let mut scene = Scene::with(&["--request-memory", BUDGET]);
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        attackers.spawn_on(
            attack(scene.server.url().to_owned(), method, message_bytes, kind),
            scene.runtime.handle(),
        );
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
    scene.others_notice_nothing();
}

#[test]
fn large_messages_that_do_not_end() {
    besieged(
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
        16 * MIB,
        Scene::others_notice_nothing,
    );
}

/// Nothing here asks whether a request says that it is gRPC before it is read.
#[test]
fn large_messages_under_another_name_that_do_not_end() {
    besieged_with(
        "text/plain",
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
        16 * MIB,
        Scene::others_notice_nothing,
    );
}

#[test]
fn ordinary_messages_that_do_not_end() {
    besieged(
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
        4 * MIB,
        small_requests_go_on,
    );
}

#[test]
fn uploads_that_do_not_end() {
    besieged("/google.bytestream.ByteStream/Write", 16 * MIB, Scene::others_notice_nothing);
}
