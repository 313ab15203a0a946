//! Limits of the configuration file, each met by a client that goes beyond it, and counted by its name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use millpond_proto::bytestream::WriteRequest;
use millpond_proto::reapi::{
    BatchReadBlobsRequest, Digest, Directory, DirectoryNode, FileNode, FindMissingBlobsRequest,
};
use prost::Message;
use tonic::{Code, Request, Status};

use crate::admin::answer;
use crate::battery::{Blob, Client, Publish, Pushed, digest_of};
use crate::server::Server;

/// How often each limit was met, as Prometheus reads it.
struct Met(String);

impl Met {
    fn of(server: &Server) -> Self {
        let address = answer(server, "status --json")["metrics"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Self(text)
    }

    fn times(&self, limit: &str) -> u64 {
        let begin = format!("millpond_limits_met_total{{limit=\"{limit}\"}} ");
        let value = self.0.lines().find_map(|line| line.strip_prefix(&begin));
        value.unwrap_or_else(|| panic!("no {limit} in {}", self.0)).parse().unwrap()
    }
}

fn start(limits: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pond.toml");
    std::fs::write(&path, format!("[limits]\n{limits}\n")).unwrap();
    Server::start_with(&["--metrics", "127.0.0.1:0", "--config", path.to_str().unwrap()])
}

/// Directories, each in the one before, of which the last is empty; the outermost comes last.
fn nested(count: usize) -> Vec<Blob> {
    let mut blobs = vec![Blob::new(Directory::default().encode_to_vec())];
    while blobs.len() < count {
        let digest = blobs.last().map(|blob| blob.digest.clone());
        let node = DirectoryNode { name: "d".into(), digest };
        blobs.push(Blob::new(Directory { directories: vec![node], ..Default::default() }.encode_to_vec()));
    }
    blobs
}

async fn push_tree(client: &mut Client, name: &str, blobs: &[Blob]) -> Result<(), Status> {
    client.update(blobs).await?;
    let publish = Publish::Directory { uris: vec![name.into()] };
    client.publish(&Pushed::new(publish, blobs.last().unwrap().digest.clone())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_request_may_name_and_reach_is_as_the_file_says() {
    let server = start("names_per_push = 8\nbatch_blobs = 10000\ntree_depth = 100\nclosure_blobs = 1000");
    let mut client = Client::connect(server.url()).await.unwrap();
    let blob = Blob::new("content");
    client.update(std::slice::from_ref(&blob)).await.unwrap();
    let names = |count: usize| {
        let uris = (0..count).map(|number| format!("urn:{number}")).collect();
        let publish = Publish::Blob { uris, references_blobs: vec![], references_directories: vec![] };
        Pushed::new(publish, blob.digest.clone())
    };
    client.publish(&names(8)).await.unwrap();
    assert_eq!(client.publish(&names(9)).await.unwrap_err().code(), Code::InvalidArgument);

    let batch = |count: usize| BatchReadBlobsRequest {
        digests: vec![blob.digest.clone(); count],
        ..Default::default()
    };
    client.cas.batch_read_blobs(batch(10_000)).await.unwrap();
    let refused = client.cas.batch_read_blobs(batch(10_001)).await.unwrap_err();
    assert!(refused.message().contains("10001 blobs in one batch: give at most 10000"), "{refused}");

    push_tree(&mut client, "urn:shallow", &nested(100)).await.unwrap();
    let refused = push_tree(&mut client, "urn:deep", &nested(101)).await.unwrap_err();
    assert!(refused.message().contains("nested deeper than 100"), "{refused}");

    let wide = |count: usize| {
        let files = (0..count).map(|number| FileNode {
            name: format!("{number:05}"),
            digest: Some(digest_of(format!("{number}").as_bytes())),
            ..Default::default()
        });
        Blob::new(Directory { files: files.collect(), ..Default::default() }.encode_to_vec())
    };
    for chunk in (0..1100).collect::<Vec<u32>>().chunks(100) {
        let files: Vec<_> = chunk.iter().map(|number| Blob::new(format!("{number}"))).collect();
        client.update(&files).await.unwrap();
    }
    push_tree(&mut client, "urn:narrow", &[wide(900)]).await.unwrap();
    let refused = push_tree(&mut client, "urn:wide", &[wide(1100)]).await.unwrap_err();
    assert!(refused.message().contains("more than 1000 blobs"), "{refused}");

    let met = Met::of(&server);
    for limit in ["names_per_push", "batch_blobs", "tree_depth", "closure_blobs"] {
        assert!(met.times(limit) >= 1, "{limit} was not counted: {}", met.0);
    }
    assert_eq!(met.times("message_size"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_large_a_message_and_how_long_headers_may_be_is_as_the_file_says() {
    let server = start("message_size = \"5MiB\"\nheader_size = \"16KiB\"");
    let mut client = Client::connect(server.url()).await.unwrap();
    // Each entry takes 70 bytes and more.
    let digests = |count: usize| FindMissingBlobsRequest {
        blob_digests: vec![Digest { hash: "7".repeat(64).into(), size_bytes: 7 }; count],
        ..Default::default()
    };
    client.cas.find_missing_blobs(digests(60_000)).await.unwrap();
    let refused = client.cas.find_missing_blobs(digests(80_000)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(Met::of(&server).times("message_size"), 1);

    let with_header = |bytes: usize| {
        let mut request = Request::new(digests(1));
        request.metadata_mut().insert("x-filler", "x".repeat(bytes).parse().unwrap());
        request
    };
    client.cas.find_missing_blobs(with_header(10_000)).await.unwrap();
    client.cas.find_missing_blobs(with_header(30_000)).await.unwrap_err();
}

#[test]
fn how_long_a_proxy_may_take_to_say_for_whom_it_connects_is_as_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pond.toml");
    let listener = "address = \"127.0.0.1:0\"\nproxies = [\"127.0.0.1\"]\nproxy_protocol = true";
    std::fs::write(&path, format!("[[listener]]\n{listener}\n[limits]\nhandshake = \"1s\"\n")).unwrap();
    let path = path.to_str().unwrap();
    let server = Server::start_where_configured(&["--metrics", "127.0.0.1:0", "--config", path]);
    let mut silent = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(Met::of(&server).times("handshake"), 1);
    server.wait_for("it took longer than 1 s", 1);
}

#[test]
fn how_slow_a_client_may_be_is_as_the_file_says() {
    let server = start("upload_quiet = \"1s\"\nidle = \"1s\"");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let (sender, messages) = tokio::sync::mpsc::channel::<WriteRequest>(1);
        let ended = client.bytes.write(tokio_stream::wrappers::ReceiverStream::new(messages)).await;
        drop(sender);
        ended.unwrap_err()
    });
    assert!(refused.message().contains("no byte came within 1 seconds"), "{refused}");
    let mut quiet = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    quiet.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    quiet.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    quiet.read_to_end(&mut Vec::new()).unwrap();
    let met = Met::of(&server);
    assert!(met.times("upload_quiet") == 1 && met.times("idle") >= 1, "{}", met.0);
}
