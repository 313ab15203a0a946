//! A thousand connections that ask nothing, and slow uploads, while a real client pulls: it ends as it does alone, and no call of it
//! waits for another client's.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millpond_proto::bytestream::WriteRequest;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::battery::{Blob, Client as Raw, seeded};
use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;

const IDLE: usize = 1000;
const SLOW_UPLOADS: u8 = 100;
/// How many elements are pulled.
const ELEMENTS: usize = 40;

/// Connects as HTTP/2 does, and says nothing more.
fn idle(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream
}

/// Begins an upload of a large blob, and brings a byte of it each second.
async fn upload_slowly(url: String, seed: u8) {
    let mut client = Raw::connect(&url).await.unwrap();
    let blob = Blob::new(vec![seed; 8_000_000]);
    let name = format!("uploads/2b1f0a52-8f0a-4d3f-9d0a-0a4f6e1c2b3d/blobs/{}/8000000", blob.digest.hash);
    let (sender, messages) = mpsc::channel(1);
    let upload = tokio::spawn(async move { client.bytes.write(ReceiverStream::new(messages)).await });
    for offset in 0.. {
        let resource_name = if offset == 0 { name.clone() } else { String::new() };
        let data = blob.content.slice(offset..=offset);
        let message = WriteRequest { resource_name, write_offset: offset as i64, data, finish_write: false };
        if sender.send(message).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The server had enough of it.
    let _ = upload.await;
}

#[test]
fn pull_beside_a_thousand_idle_connections_and_a_hundred_slow_uploads_ends_as_alone_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let server = Server::start();
    let project = Project::new(version.generation(), "crowd");
    project.many_elements(ELEMENTS);
    let builder = Client::new(version, server.url(), Settings::pushing());
    builder.succeed(&project, &["build", "many.bst"]);
    project.take_sources_away();
    let pull = || {
        let user = Client::new(version, server.url(), Settings::default());
        let began = Instant::now();
        user.pull(&project, &["many.bst"]);
        began.elapsed()
    };
    let alone = pull();

    let connections: Vec<_> = (0..IDLE).map(|_| idle(&server)).collect();
    let runtime = Runtime::new().unwrap();
    let mut uploads = JoinSet::new();
    for seed in 0..SLOW_UPLOADS {
        uploads.spawn_on(upload_slowly(server.url().to_owned(), seed), runtime.handle());
    }
    std::thread::sleep(Duration::from_secs(1));
    let beside = pull();
    // A call by itself, of which there is no other measure than the figure that is printed.
    let mut random = seeded("crowd");
    let (wrote, read) = runtime.block_on(async {
        let mut client = Raw::connect(server.url()).await.unwrap();
        let blob = Blob::new(random.bytes(1_000_000));
        let began = Instant::now();
        client.write(&blob, 1 << 20, usize::MAX).await.unwrap();
        let wrote = began.elapsed();
        let began = Instant::now();
        assert_eq!(client.read(&blob.digest).await.unwrap(), blob.content);
        (wrote, began.elapsed())
    });
    let status = crate::admin::answer(&server, "status --json");
    eprintln!(
        "{ELEMENTS} elements pulled alone in {alone:.1?}, in the crowd in {beside:.1?}; a megabyte written in {wrote:.1?} and read \
         in {read:.1?} beside {} connections",
        status["connections"]
    );
    assert!(status["connections"].as_u64().unwrap() >= IDLE as u64, "they were not there: {status}");
    assert!(uploads.try_join_next().is_none(), "a slow upload was over before");
    drop(connections);
    runtime.block_on(uploads.shutdown());
}
