//! `millpond fsck` and reading everything again: what is bad is found, and exactly the names that it costs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::admin::{answer, ask};
use crate::battery::{Blob, Client, Random, seeded};
use crate::full_volume::{is_there, name, upload};
use crate::loop_disk::SmallDisk;
use crate::server::{Server, skip};
use crate::watch::Page;

/// Two names with a blob in common, and one that has none of theirs.
struct Pushed {
    shared: Blob,
    names: BTreeMap<&'static str, Vec<Blob>>,
}

impl Pushed {
    fn new(random: &mut Random) -> Self {
        let mut blob = || Blob::new(random.bytes(20_000));
        let shared = blob();
        let names = BTreeMap::from([
            ("urn:one", vec![blob(), shared.clone()]),
            ("urn:other", vec![shared.clone(), blob()]),
            ("urn:apart", vec![blob(), blob()]),
        ]);
        Self { shared, names }
    }

    fn push(&self, runtime: &Runtime, server: &Server) {
        runtime.block_on(async {
            let mut client = Client::connect(server.url()).await.unwrap();
            for (uri, blobs) in &self.names {
                upload(&mut client, blobs).await.unwrap();
                name(&mut client, uri, blobs).await;
            }
        });
    }

    fn there(&self, runtime: &Runtime, server: &Server) -> Vec<&'static str> {
        runtime.block_on(async {
            let mut client = Client::connect(server.url()).await.unwrap();
            let mut there = Vec::new();
            for uri in self.names.keys() {
                if is_there(&mut client, uri).await {
                    there.push(*uri);
                }
            }
            there
        })
    }

    /// Flips a bit of the blob that two names share.
    fn hit(&self, data: &Path) {
        flip_bit_of(&self.shared.content[100..150], data);
    }
}

/// Flips a bit of what these bytes are in, wherever they are.
pub(crate) fn flip_bit_of(part: &[u8], data: &Path) {
    let folders = fs::read_dir(data.join("packs")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let packs: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    for pack in packs {
        let bytes = fs::read(&pack).unwrap();
        if let Some(at) = bytes.windows(part.len()).position(|window| window == part) {
            let file = fs::File::options().write(true).open(pack).unwrap();
            file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
            return;
        }
    }
    panic!("no pack has the blob");
}

/// What `fsck --json` finds: its exit code, bad records, and names that are not whole.
fn fsck(server: &Server, flags: &str) -> (i32, Vec<Value>, Vec<String>) {
    let (code, printed, complaint) = ask(server, &format!("fsck --json{flags}"));
    let found: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{complaint}"));
    assert_eq!(found["damaged"].as_array().unwrap().len(), 0, "{printed}");
    let mut names: Vec<_> = (found["not_whole"].as_array().unwrap().iter())
        .map(|name| name["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    (code, found["bad"].as_array().unwrap().clone(), names)
}

fn modified(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && !path.ends_with("lock") {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

const TWO: [&str; 2] = ["urn:one", "urn:other"];

#[test]
fn fsck_of_what_nobody_serves_finds_and_changes_nothing_until_it_repairs() {
    let runtime = Runtime::new().unwrap();
    let mut server = Server::start_with(&["--max-size", "60MB"]);
    let pushed = Pushed::new(&mut seeded("fsck"));
    pushed.push(&runtime, &server);
    server.kill();
    assert_eq!(fsck(&server, ""), (0, vec![], vec![]));
    // Of a pack that is not sealed, what is bad is left out before it counts as there.
    server.start_again();
    server.stop();
    pushed.hit(server.data());
    let before = modified(server.data());
    for _ in 0..2 {
        let (code, bad, names) = fsck(&server, "");
        assert_eq!((code, bad.len(), &names[..]), (3, 1, &TWO.map(str::to_owned)[..]));
        assert_eq!(bad[0]["digest"], format!("{}/20000", pushed.shared.digest.hash));
    }
    assert!(before == modified(server.data()), "it has changed something");
    let (code, text, complaint) = ask(&server, "fsck");
    assert_eq!(code, 3);
    for part in ["bad: ", "not whole: urn:one lacks ", " 3 names looked at"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(complaint.contains("1 bad record, 2 names not whole"), "{complaint}");

    assert_eq!(fsck(&server, " --repair").1.len(), 1);
    let (code, bad, names) = fsck(&server, "");
    assert_eq!((code, bad.len(), &names[..]), (3, 0, &TWO.map(str::to_owned)[..]), "it is missing by now");
    server.start_again();
    assert_eq!(pushed.there(&runtime, &server), ["urn:apart"]);
    pushed.push(&runtime, &server);
    assert_eq!(fsck(&server, ""), (0, vec![], vec![]));
    server.stop();
}

#[test]
fn fsck_needs_nothing_to_be_writable() {
    let disk = match SmallDisk::new(128 << 20) {
        Ok(disk) => disk,
        Err(reason) => return skip(&format!("fsck of a file system that cannot be written: {reason}")),
    };
    let runtime = Runtime::new().unwrap();
    let mut server = Server::start_at(&disk.place().join("data"), &["--max-size", "60MB"]);
    let pushed = Pushed::new(&mut seeded("fsck read only"));
    pushed.push(&runtime, &server);
    server.stop();
    pushed.hit(server.data());
    disk.make_read_only();
    let (code, bad, names) = fsck(&server, "");
    assert_eq!((code, bad.len(), &names[..]), (3, 1, &TWO.map(str::to_owned)[..]));
    assert_eq!(ask(&server, "fsck --repair").0, 13);
}

#[test]
fn fsck_of_a_server_that_runs_finds_what_is_bad_and_the_next_push_heals_it() {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("millpond.toml");
    // Or that finds it first.
    fs::write(&file, "[store]\nscrub = \"off\"\n").unwrap();
    let flags = ["--max-size", "60MB", "--metrics", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    let mut server = Server::start_with(&flags);
    let pushed = Pushed::new(&mut seeded("fsck beside serving"));
    let missing = |server: &Server| {
        let page = Page::of(server);
        ["millpond_served_blobs_missing", "millpond_served_names_lacking_blobs"]
            .map(|metric| page.value(metric, &[]))
    };
    pushed.push(&runtime, &server);
    server.stop();
    server.start_again();
    pushed.hit(server.data());
    assert_eq!(ask(&server, "fsck --repair").0, 2);
    assert_eq!(missing(&server), [0.0, 0.0]);
    let (code, bad, names) = fsck(&server, "");
    // One of the two needs it in two places.
    assert_eq!(missing(&server), [3.0, 2.0]);
    assert_eq!((code, bad.len(), &names[..]), (3, 1, &TWO.map(str::to_owned)[..]));
    assert_eq!(pushed.there(&runtime, &server), ["urn:apart"]);
    assert_eq!(answer(&server, "status --json")["poisoned"], Value::Null);
    pushed.push(&runtime, &server);
    assert_eq!(fsck(&server, ""), (0, vec![], vec![]));
    assert_eq!(missing(&server), [0.0, 0.0]);
    assert_eq!(pushed.there(&runtime, &server).len(), 3);
}

#[test]
fn what_has_gone_bad_is_found_by_reading_everything_again() {
    let runtime = Runtime::new().unwrap();
    let mut server = Server::start_with(&["--max-size", "60MB"]);
    let pushed = Pushed::new(&mut seeded("scrub"));
    pushed.push(&runtime, &server);
    server.stop();
    pushed.hit(server.data());
    server.start_again();
    server.wait_for("reading all blobs again found a bad one", 1);
    server.wait_for("a name is not whole, and is a miss until it is pushed again", 2);
    let status = answer(&server, "status --json");
    assert_eq!(status["scrubbed_bad_records"], 1, "{status}");
    assert!(status["scrubbed_bytes"].as_u64().unwrap() > 100_000, "{status}");
    let (_, text, _) = ask(&server, "status");
    assert!(text.contains("bad records: 1"), "{text}");
    assert_eq!(pushed.there(&runtime, &server), ["urn:apart"]);
}
