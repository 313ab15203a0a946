//! A small file system that somebody else fills to its last byte, under a server that runs and before one that starts.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tonic::Code;

use crate::battery::{Blob, Client, Random, seeded};
use crate::full_volume::{blobs, figure, is_there, name, upload};
use crate::loop_disk::SmallDisk;
use crate::server::{Server, skip};

const DISK_BYTES: u64 = 128 << 20;
const LEAST: &[&str] = &["--max-size", "60MB", "--lease", "0s"];
/// Nothing of what a test pushes goes with this one.
const LEASED: &[&str] = &["--max-size", "60MB", "--lease", "59s"];
const READ_ONLY: &[&str] = &["--max-size", "60MB", "--read-only"];

/// Another program, which takes whatever the file system still gives.
struct Others(PathBuf);

impl Others {
    fn fill(disk: &SmallDisk) -> Self {
        let path = disk.place().join(format!("others-{:?}", Instant::now()));
        let mut file = File::create(&path).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; piece]).is_ok() {}
        }
        Self(path)
    }

    fn go(self) {
        fs::remove_file(self.0).unwrap();
    }
}

/// An artifact under a name of its own.
async fn push(client: &mut Client, uri: &str, random: &mut Random) -> Vec<Blob> {
    let artifact = blobs(3_000_000, random);
    upload(client, &artifact).await.unwrap();
    name(client, uri, &artifact).await;
    // Levels are whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    artifact
}

/// How many of these names are there; each that is answers with all its blobs.
async fn pull(server: &Server, artifacts: &[(String, Vec<Blob>)]) -> usize {
    let mut client = Client::connect(server.url()).await.unwrap();
    let mut there = 0;
    for (uri, artifact) in artifacts {
        if is_there(&mut client, uri).await {
            there += 1;
            for blob in artifact {
                let read = client.read(&blob.digest).await;
                assert!(read.is_ok_and(|content| content == blob.content), "{uri}:\n{}", server.log());
            }
        }
    }
    there
}

fn wait_for_ballast(server: &Server, is_there: bool) {
    let file = server.data().join("ballast");
    let deadline = Instant::now() + Duration::from_secs(60);
    while file.exists() != is_there {
        assert!(Instant::now() < deadline, "the ballast is there: {}\n{}", !is_there, server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn disk() -> Option<SmallDisk> {
    SmallDisk::new(DISK_BYTES).map_err(|reason| skip(&format!("a disk that others fill: {reason}"))).ok()
}

#[test]
fn pulls_go_on_and_letting_go_works_when_others_fill_the_disk() {
    let Some(disk) = disk() else { return };
    let mut random = seeded("full disk");
    let runtime = Runtime::new().unwrap();
    let mut server = Server::start_at(&disk.place().join("data"), LEAST);
    let mut artifacts = Vec::new();
    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        for number in 0..8 {
            let uri = format!("urn:a:{number}");
            let artifact = push(&mut client, &uri, &mut random).await;
            artifacts.push((uri, artifact));
        }
    });
    wait_for_ballast(&server, true);
    assert_eq!(fs::metadata(server.data().join("ballast")).unwrap().len(), 1 << 20);

    // To the last byte under a server that runs: what comes in finds room by what goes.
    let others = Others::fill(&disk);
    // All that is used in the same second would go together.
    assert_eq!(runtime.block_on(pull(&server, &artifacts[6..])), 2);
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let mut client = Client::connect(server.url()).await.unwrap();
        let artifact = push(&mut client, "urn:late", &mut random).await;
        artifacts.push(("urn:late".to_owned(), artifact));
    });
    let left = runtime.block_on(pull(&server, &artifacts));
    assert!((2..9).contains(&left), "{left} of 9 are left:\n{}", server.log());
    assert!(figure(&server, "bytes_let_go") > 0);

    // Once more, and nothing may go: pushes are refused, with a word on what holds the room.
    server.stop();
    server.start_again_with(LEASED);
    let more = Others::fill(&disk);
    assert_eq!(runtime.block_on(pull(&server, &artifacts)), left);
    let refused = runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        upload(&mut client, &blobs(1_000_000, &mut random)).await.unwrap_err()
    });
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("bytes are in use"), "{refused}");
    assert_eq!(runtime.block_on(pull(&server, &artifacts)), left);

    // Starts, after a crash and after a stop, to serve and to read only.
    server.kill();
    let most = Others::fill(&disk);
    for arguments in [LEASED, READ_ONLY, LEASED] {
        server.start_again_with(arguments);
        assert_eq!(runtime.block_on(pull(&server, &artifacts)), left, "{arguments:?}");
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    }

    server.start_again_with(LEASED);
    [others, more, most].into_iter().for_each(Others::go);
    wait_for_ballast(&server, true);
    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let artifact = push(&mut client, "urn:healed", &mut random).await;
        artifacts.push(("urn:healed".to_owned(), artifact));
    });
    assert_eq!(runtime.block_on(pull(&server, &artifacts)), left + 1);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn full_disk_is_told_with_its_figures_when_no_volume_can_be_made_on_it() {
    let Some(disk) = disk() else { return };
    let others = Others::fill(&disk);
    let data = disk.place().join("data");
    let (code, complaint) = serve_in_vain(&data);
    assert_ne!(code, 0);
    assert!(complaint.contains("bytes are in use") || complaint.contains("No space"), "{complaint}");
    assert!(complaint.contains("hint: ") && !complaint.contains(" 0 of 0 "), "{complaint}");
    others.go();
    let mut server = Server::start_at(&data, LEAST);
    assert_eq!(server.stop().code(), Some(0));
}

/// The exit code and the words of a server that does not start.
fn serve_in_vain(data: &Path) -> (i32, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--data"])
        .arg(data)
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}
