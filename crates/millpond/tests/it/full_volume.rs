//! A volume that is full, and whose server lets go: what was used least recently goes first and whole, the limit holds at
//! every moment, and no name is ever served without its blobs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond_proto::asset::PushBlobRequest;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::admin::answer;
use crate::battery::{Blob, Client, Name, Random, Volume, seeded, setting};
use crate::server::Server;

/// What every file and folder below this one takes, in blocks.
fn disk_usage(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::symlink_metadata(folder).map_or(0, |found| found.blocks() * 512);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    own + entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => disk_usage(&entry.path()),
            // One that went meanwhile takes nothing.
            _ => std::fs::symlink_metadata(entry.path()).map_or(0, |found| found.blocks() * 512),
        })
        .sum::<u64>()
}

/// One of the figures of a server's status.
pub(crate) fn figure(server: &Server, name: &str) -> u64 {
    answer(server, "status --json")[name].as_u64().unwrap()
}

/// Blobs of this many bytes together, some small and some large.
pub(crate) fn blobs(bytes: u64, random: &mut Random) -> Vec<Blob> {
    let mut left = bytes;
    let mut blobs = Vec::new();
    while left > 0 {
        let size = (random.choose(&[3_000, 40_000, 300_000])).min(left);
        blobs.push(Blob::new(random.bytes(size)));
        left -= size;
    }
    blobs
}

#[test]
fn least_recently_used_goes_and_no_more_than_what_comes_in_needs() {
    let mut random = seeded("full volume");
    let server = Server::start_with(&["--max-size", "18MB", "--lease", "0s"]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let artifacts: Vec<Vec<Blob>> = (0..3).map(|_| blobs(5_000_000, &mut random)).collect();
        for (number, artifact) in artifacts.iter().enumerate() {
            if number == 2 {
                // The first was used since the second came.
                assert!(is_there(&mut client, "urn:a:0").await);
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
            upload(&mut client, artifact).await.unwrap();
            name(&mut client, &format!("urn:a:{number}"), artifact).await;
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let found = [
            is_there(&mut client, "urn:a:0").await,
            is_there(&mut client, "urn:a:1").await,
            is_there(&mut client, "urn:a:2").await,
        ];
        assert_eq!(found, [true, false, true], "exactly the least recently used one goes:\n{}", server.log());
        for (number, artifact) in artifacts.iter().enumerate().filter(|(number, _)| *number != 1) {
            let digests = artifact.iter().map(|blob| blob.digest.clone()).collect();
            assert!(client.missing(digests).await.unwrap().is_empty(), "artifact {number}");
        }
        // Half of the room is the most that one blob may take: refused at its first message, before anything goes.
        let large = Blob::new(random.bytes(9_000_000));
        let refused = client.write(&large, 1 << 16, usize::MAX).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(is_there(&mut client, "urn:a:0").await && is_there(&mut client, "urn:a:2").await);
    });
    assert!(disk_usage(server.data()) <= 18_000_000);
}

/// In batches that a message holds.
pub(crate) async fn upload(client: &mut Client, blobs: &[Blob]) -> Result<(), Status> {
    for some in blobs.chunks(10) {
        client.update(some).await?;
    }
    Ok(())
}

/// Publishes a name of all these blobs.
pub(crate) async fn name(client: &mut Client, uri: &str, blobs: &[Blob]) {
    let digest = |blob: &Blob| blob.digest.clone();
    let request = PushBlobRequest {
        uris: vec![uri.to_owned()],
        blob_digest: blobs.first().map(digest),
        references_blobs: blobs.iter().map(digest).collect(),
        ..Default::default()
    };
    client.push.push_blob(request).await.unwrap();
}

pub(crate) async fn is_there(client: &mut Client, uri: &str) -> bool {
    client.look_up(&Name::Blob(uri.to_owned())).await.unwrap().is_some()
}

/// Asks again and again what the directory takes, and which share of it is in use by blobs.
struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn over(data: &Path) -> Self {
        let (stop, most) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, largest, data) = (Arc::clone(&stop), Arc::clone(&most), data.to_owned());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                largest.fetch_max(disk_usage(&data), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, most, thread }
    }

    fn most(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.load(Ordering::Relaxed)
    }
}

const LIMIT: u64 = 60_000_000;

#[test]
fn limit_holds_at_every_moment_and_what_is_served_is_whole() {
    let mut random = seeded("limit of a full volume");
    let runtime = Runtime::new().unwrap();
    let mut volume = Volume::new(Server::start_with(&["--max-size", "60MB", "--lease", "2s"]), &mut random);
    volume.ledger.may_go();
    let seconds = setting("MILLPOND_FULL_SECONDS", 20);
    let watch = Watch::over(volume.server.data());
    let pushed = volume.push(&runtime, &mut random, Duration::ZERO, |server, _| {
        let end = Instant::now() + Duration::from_secs(seconds);
        let (mut least, mut was_full) = (u64::MAX, false);
        while Instant::now() < end {
            let live = figure(server, "live_bytes");
            was_full |= live > LIMIT / 100 * 70;
            if was_full {
                least = least.min(live);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        (least, figure(server, "bytes_let_go"))
    });
    let (least, let_go) = pushed;
    let most = watch.most();
    eprintln!("limit {LIMIT}: at most {most} in use, at least {least} of it blobs; {let_go} let go");
    assert!(most <= LIMIT, "{most} bytes were in use");
    assert!(let_go > LIMIT, "hardly anything was let go: {let_go}");
    assert!(least >= LIMIT / 2, "only {least} bytes were left");
    // With room nothing more goes, so that what is served can be read to its end.
    assert_eq!(volume.server.stop().code(), Some(0));
    volume.server.start_again_with(&["--max-size", "1GB"]);
    let (read, complaints) = volume.verify(&runtime, volume.ledger.now());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(read.bytes > LIMIT / 3, "{read:?}");
}

#[test]
fn kills_in_the_midst_of_letting_go_halve_nothing() {
    let kills = setting("MILLPOND_KILLS_LETTING_GO", 30);
    let mut random = seeded("kills in the midst of letting go");
    let runtime = Runtime::new().unwrap();
    let small = ["--max-size", "30MB", "--lease", "0s"];
    let mut volume = Volume::new(Server::start_with(&small), &mut random);
    volume.ledger.may_go();
    let (mut names, mut let_go) = (0, 0);
    for kill in 0..kills {
        let_go += volume.push(&runtime, &mut random, Duration::ZERO, |server, random| {
            let end = Instant::now() + random.pause(Duration::from_secs(2));
            let mut let_go = 0;
            while Instant::now() < end {
                let_go = figure(server, "bytes_let_go");
                std::thread::sleep(Duration::from_millis(50));
            }
            server.kill();
            let_go
        });
        volume.server.start_again_with(&["--max-size", "1GB", "--lease", "1h"]);
        let (read, complaints) = volume.verify(&runtime, volume.ledger.now());
        assert!(complaints.is_empty(), "after kill {kill}:\n{}", complaints.join("\n"));
        names += read.names;
        volume.server.kill();
        volume.server.start_again_with(&small);
    }
    eprintln!("{kills} kills: {names} names were served and whole, {let_go} bytes had been let go");
    assert!(names > 0 && let_go > 0, "{names} names, {let_go} bytes let go");
}

#[test]
fn full_of_what_is_in_use_refuses_uploads_and_says_so_and_pulls_go_on() {
    let mut random = seeded("full of what is in use");
    let runtime = Runtime::new().unwrap();
    let server = Server::start_with(&["--max-size", "18MB", "--lease", "59s"]);
    runtime.block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let first = blobs(4_000_000, &mut random);
        upload(&mut client, &first).await.unwrap();
        name(&mut client, "urn:first", &first).await;
        let refused = loop {
            if let Err(refused) = upload(&mut client, &blobs(1_000_000, &mut random)).await {
                break refused;
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused.message().contains("max-size") && refused.message().contains("18000000"),
            "{refused}"
        );
        assert!(is_there(&mut client, "urn:first").await);
    });
    assert!(server.log().contains("the cache is full of what is in use"), "{}", server.log());
    assert_eq!(figure(&server, "bytes_let_go"), 0);
}
