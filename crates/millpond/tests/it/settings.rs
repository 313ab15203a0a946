//! What settings change for clients, over the wire.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use millpond_proto::reapi;
use millpond_proto::reapi::capabilities_client::CapabilitiesClient;
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::server::Server;

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(server.url().to_owned()).unwrap().connect().await.unwrap()
}

async fn capabilities(server: &Server) -> reapi::CacheCapabilities {
    let mut client = CapabilitiesClient::new(channel(server).await);
    let answer = client.get_capabilities(reapi::GetCapabilitiesRequest::default()).await.unwrap();
    answer.into_inner().cache_capabilities.unwrap()
}

fn digest(data: &[u8]) -> reapi::Digest {
    let hash = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    reapi::Digest { hash: hash.into(), size_bytes: data.len().try_into().unwrap() }
}

/// The code of the call, or else that of the blob.
async fn put(server: &Server, data: &Bytes) -> Result<i32, Status> {
    let blob = reapi::batch_update_blobs_request::Request {
        digest: Some(digest(data)),
        data: data.clone(),
        ..Default::default()
    };
    let request = reapi::BatchUpdateBlobsRequest { requests: vec![blob], ..Default::default() };
    let mut client = ContentAddressableStorageClient::new(channel(server).await);
    let answer = client.batch_update_blobs(request).await?.into_inner();
    Ok(answer.responses[0].status.as_ref().map_or(0, |status| status.code))
}

async fn get(server: &Server, data: &Bytes) -> Bytes {
    let request = reapi::BatchReadBlobsRequest { digests: vec![digest(data)], ..Default::default() };
    let mut client = ContentAddressableStorageClient::new(channel(server).await);
    client.batch_read_blobs(request).await.unwrap().into_inner().responses.remove(0).data
}

#[test]
fn read_only_server_refuses_pushes_and_serves_pulls() {
    let runtime = Runtime::new().unwrap();
    let mut server = Server::start();
    let data = Bytes::from_static(b"was there before");
    assert_eq!(runtime.block_on(put(&server, &data)).unwrap(), 0);
    assert!(server.log().contains("push: true"));
    server.stop();
    let before = server.log().len();
    server.start_again_with(&["--read-only"]);
    let refused = runtime.block_on(put(&server, &Bytes::from_static(b"new"))).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(runtime.block_on(get(&server, &data)), data);
    let updates = runtime.block_on(capabilities(&server)).action_cache_update_capabilities.unwrap();
    assert!(!updates.update_enabled);
    // What follows may quote what the refused client should do.
    let log = server.log();
    let (greeting, _) = log[before..].split_once("listening on ").unwrap();
    assert!(greeting.contains("read-only: ") && !greeting.contains("push: true"), "{greeting}");
    assert!(greeting.contains("- url: http://"), "{greeting}");
}

/// A folder with a configuration file, and the arguments that name it.
fn configured(text: &str) -> (TempDir, [String; 2]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pond.toml");
    fs::write(&path, text).unwrap();
    let arguments = ["--config".to_owned(), path.to_str().unwrap().to_owned()];
    (folder, arguments)
}

fn start(text: &str) -> Server {
    let (_folder, arguments) = configured(text);
    Server::start_with(&arguments.each_ref().map(String::as_str))
}

#[test]
fn largest_blob_is_told_and_a_larger_one_refused() {
    let server = start("[store]\nmax_cas_blob_size = \"1MB\"\n");
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.block_on(capabilities(&server)).max_cas_blob_size_bytes, 1_000_000);
    assert_eq!(runtime.block_on(put(&server, &vec![1; 1_000_000].into())).unwrap(), 0);
    let larger = runtime.block_on(put(&server, &vec![1; 1_000_001].into()));
    assert!(!matches!(larger, Ok(0)), "{larger:?}");
}

#[test]
fn drain_of_the_file_is_what_the_end_waits_for() {
    let mut server = start("[limits]\ndrain = \"3s\"\nstreams = 5\nlook_up_time = \"5s\"\n");
    assert_eq!(Runtime::new().unwrap().block_on(capabilities(&server)).digest_functions.len(), 1);
    server.stop();
    assert!(server.log().contains("with 3 s for what is under way"), "{}", server.log());
}

fn address(server: &Server) -> &str {
    server.url().trim_start_matches("http://")
}

/// Connects, and says what HTTP/2 begins with.
fn connect(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(address(server)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream
}

/// The settings frame that the server begins with: identifiers and values.
fn http2_settings(stream: &mut TcpStream) -> HashMap<u16, u32> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "no settings: {head:?}");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).unwrap();
    let value = |entry: &[u8]| {
        let [a, b, c, d, e, f] = *entry else { panic!("{entry:?}") };
        (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
    };
    settings.chunks(6).map(value).collect()
}

#[test]
fn streams_of_the_file_are_what_clients_are_told() {
    let server = start("[limits]\nstreams = 5\n");
    assert_eq!(http2_settings(&mut connect(&server)).get(&3), Some(&5));
}

#[test]
fn connections_beyond_the_limit_wait_and_those_of_one_address_are_closed() {
    let server = start("[limits]\nconnections = 1\n");
    let mut first = connect(&server);
    http2_settings(&mut first);
    let mut second = connect(&server);
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0]).is_err());
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    http2_settings(&mut second);

    let server = start("[limits]\nconnections_per_address = 1\n");
    let mut first = connect(&server);
    http2_settings(&mut first);
    let mut second = TcpStream::connect(address(&server)).unwrap();
    second.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)));
    server.wait_for("as many connections as it may have", 1);
    drop(first);
}

#[test]
fn connection_that_asks_nothing_ends_after_the_idle_time_of_the_file() {
    let server = start("[limits]\nidle = \"1s\"\nunread = \"7s\"\n");
    let mut quiet = connect(&server);
    let mut rest = Vec::new();
    quiet.read_to_end(&mut rest).unwrap();
}
