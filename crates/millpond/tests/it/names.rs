//! What an operator finds out about names, and does with them, in a server that runs.

use std::collections::HashSet;

use millpond_proto::asset::{FetchBlobRequest, PushBlobRequest};
use millpond_proto::reapi::{Directory, DirectoryNode, FileNode, SymlinkNode};
use prost::Message;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::admin::{answer, ask};
use crate::battery::{Blob, Client, Pushed, digest_of, seeded};
use crate::server::Server;

/// A server, and somebody who pushes to it.
pub(crate) struct Pond {
    pub(crate) server: Server,
    pub(crate) runtime: Runtime,
}

impl Pond {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self { server: Server::start_with(arguments), runtime: Runtime::new().unwrap() }
    }

    /// Pushes an asset of these bytes.
    pub(crate) fn push(&self, uri: &str, content: &[u8]) {
        let blob = Blob::new(content.to_vec());
        let push = PushBlobRequest {
            uris: vec![uri.into()],
            blob_digest: Some(blob.digest.clone()),
            ..Default::default()
        };
        self.runtime.block_on(async {
            let mut client = Client::connect(self.server.url()).await.unwrap();
            client.update(&[blob]).await.unwrap();
            client.push.push_blob(push).await.unwrap();
        });
    }

    /// Uploads a blob that no name has.
    pub(crate) fn upload(&self, blob: &Blob) {
        self.runtime.block_on(async {
            let mut client = Client::connect(self.server.url()).await.unwrap();
            client.update(std::slice::from_ref(blob)).await.unwrap();
        });
    }

    /// Pushes something whole, as a client does.
    pub(crate) fn push_whole(&self, pushed: &Pushed) {
        self.runtime.block_on(async {
            let mut client = Client::connect(self.server.url()).await.unwrap();
            for blob in &pushed.blobs {
                client.write(blob, 1 << 20, usize::MAX).await.unwrap();
            }
            client.publish(pushed).await.unwrap();
        });
    }

    /// What a look-up of an asset comes to.
    pub(crate) fn fetch(&self, uri: &str) -> Code {
        let fetch = FetchBlobRequest { uris: vec![uri.into()], ..Default::default() };
        self.runtime.block_on(async {
            let mut client = Client::connect(self.server.url()).await.unwrap();
            client.fetch.fetch_blob(fetch).await.map_or_else(|status| status.code(), |_| Code::Ok)
        })
    }

    /// The lines that a command answers, as JSON.
    pub(crate) fn lines(&self, arguments: &str) -> Vec<Value> {
        let (code, printed, complaint) = ask(&self.server, &format!("{arguments} --json"));
        assert_eq!((code, complaint.as_str()), (0, ""), "{arguments}");
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names that it lists.
    pub(crate) fn names(&self, arguments: &str) -> Vec<String> {
        let lines = self.lines(&format!("names list {arguments}"));
        lines.iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn names_are_listed_by_what_they_are_like_and_in_the_order_that_is_wanted() {
    let pond = Pond::new(&[]);
    for (name, size) in [("a:small", 10), ("a:large", 3000), ("b:middle", 500)] {
        pond.push(name, &vec![b'x'; size]);
    }
    assert_eq!(pond.names("--kind asset"), ["a:small", "a:large", "b:middle"]);
    assert_eq!(pond.names("a:*"), ["a:small", "a:large"]);
    assert_eq!(pond.names("--sort size"), ["a:large", "b:middle", "a:small"]);
    assert_eq!(pond.names("--sort size --limit 2"), ["a:large", "b:middle"]);
    assert_eq!(pond.names("--limit 1"), ["a:small"]);
    assert_eq!(pond.names("--kind artifact"), [""; 0]);
    assert_eq!(pond.names("--instance main"), [""; 0]);
    assert_eq!(pond.names("--since 1h"), ["a:small", "a:large", "b:middle"]);
    assert_eq!(pond.names("--until 1h"), [""; 0]);
    assert_eq!(pond.names("--pushed-by alice"), [""; 0]);
    let line = &pond.lines("names list a:large --sort size")[0];
    assert_eq!(
        (&line["bytes"], &line["uri"], &line["whole"]),
        (&3000.into(), &"a:large".into(), &true.into())
    );
    let (code, _, complaint) = ask(&pond.server, "names list --sort size --limit 10001");
    assert!(code == 1 && complaint.contains("at most 10000"), "{complaint}");
}

#[test]
fn more_names_than_a_page_holds_are_all_listed_once() {
    let pond = Pond::new(&[]);
    let uris: Vec<_> = (0..1000).map(|number| format!("n:{number}")).collect();
    let blob = Blob::new(b"one".to_vec());
    pond.runtime.block_on(async {
        let mut client = Client::connect(pond.server.url()).await.unwrap();
        client.update(std::slice::from_ref(&blob)).await.unwrap();
        for uris in uris.chunks(100) {
            let push = PushBlobRequest {
                uris: uris.to_vec(),
                blob_digest: Some(blob.digest.clone()),
                ..Default::default()
            };
            client.push.push_blob(push).await.unwrap();
        }
    });
    let listed = pond.names("*");
    assert_eq!(listed.len(), 1000);
    assert_eq!(listed.into_iter().collect::<HashSet<_>>(), uris.into_iter().collect());
}

#[test]
fn a_name_is_shown_with_its_closure_and_when_it_may_go() {
    let pond = Pond::new(&["--lease", "2h"]);
    let mut random = seeded("names shown");
    let pushed: Vec<_> = (0..20).map(|_| Pushed::any(&mut random, 7)).collect();
    pushed.iter().for_each(|pushed| pond.push_whole(pushed));
    let shown = pond.lines("names show *");
    assert!(shown.len() >= 20, "{}", shown.len());
    for line in &shown {
        assert_eq!((&line["missing_count"], &line["let_go"]), (&0.into(), &false.into()), "{line}");
        let (used, stays) = (line["used"].as_u64().unwrap(), line["stays_until"].as_u64().unwrap());
        // Two hours, and the eighth of a lease in which no use is written down.
        let lease = 2 * 3600 * 9 / 8;
        // Pushed by another clock, whose second may have begun by then.
        assert!(stays - used == lease || stays - used == lease - 1, "{line}");
        assert!(used >= line["pushed"].as_u64().unwrap(), "{line}");
        assert!(line["blobs"].as_u64().unwrap() > 0, "{line}");
    }
    // A closure is what it was pushed with.
    let mut compared = 0;
    for pushed in &pushed {
        let root = format!("{}/{}", pushed.root.hash.as_str(), pushed.root.size_bytes);
        let closure = pushed.value().closure;
        let distinct: HashSet<_> =
            closure.iter().map(|digest| (digest.hash.as_str(), digest.size_bytes)).collect();
        let bytes: i64 = distinct.iter().map(|(_, size)| size).sum();
        for line in shown.iter().filter(|line| line["digest"] == *root) {
            // What a push declares beside its trees may be the empty blob, which is none.
            let empty = distinct.iter().filter(|(_, size)| *size == 0).count();
            let blobs = usize::try_from(line["blobs"].as_u64().unwrap()).unwrap();
            assert!((distinct.len() - empty..=distinct.len()).contains(&blobs), "{}: {line}", distinct.len());
            assert_eq!(line["bytes"], bytes, "{line}");
            compared += 1;
        }
    }
    assert!(compared > 5, "{compared}");
    let line = &shown[0];
    let (code, text, _) = ask(&pond.server, &format!("names show {}", line["name"].as_str().unwrap()));
    assert_eq!(code, 0);
    for part in ["kind: ", "pushed: ", "closure: ", "may go at the earliest: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, _, complaint) = ask(&pond.server, "names show artifact:none/such/name");
    assert!(code == 3 && complaint.contains("there is no name"), "{complaint}");
    assert_eq!(answer(&pond.server, "status --json")["names"].as_u64().unwrap(), shown.len() as u64);
}

#[test]
fn removed_names_are_not_served_come_back_and_go_for_good_and_it_is_written_down_who_did_it() {
    let mut pond = Pond::new(&[]);
    for name in ["a:1", "a:2", "b:1"] {
        pond.push(name, name.as_bytes());
    }
    let names = |lines: Vec<Value>| -> Vec<String> {
        lines.iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(pond.lines("names remove a:* --dry-run")), ["a:1", "a:2"]);
    assert_eq!((pond.fetch("a:1"), pond.names("*").len()), (Code::Ok, 3));
    let removed = pond.lines("names remove a:* --keep 1h");
    let until = removed[0]["removed_until"].as_u64().unwrap();
    assert_eq!(names(removed), ["a:1", "a:2"]);
    assert_eq!((pond.fetch("a:1"), pond.fetch("b:1")), (Code::NotFound, Code::Ok));
    assert_eq!(pond.names("*"), ["b:1"]);
    assert_eq!(pond.names("--removed"), ["a:1", "a:2"]);
    let (code, _, complaint) = ask(&pond.server, "names remove a:*");
    assert!(code == 3 && complaint.contains("there is no name a:*"), "{complaint}");

    // After a kill it is as it was.
    pond.server.kill();
    pond.server.start_again();
    assert_eq!(pond.lines("names list a:1 --removed")[0]["removed_until"], until);
    assert_eq!(pond.fetch("a:2"), Code::NotFound);
    assert_eq!(names(pond.lines("names restore a:1")), ["a:1"]);
    assert_eq!((pond.fetch("a:1"), pond.names("--removed")), (Code::Ok, vec!["a:2".to_owned()]));

    // Pushed again meanwhile: that one stays.
    pond.push("a:2", b"another");
    let (code, printed, complaint) = ask(&pond.server, "names restore a:2");
    assert!(code == 3 && printed.contains("pushed since"), "{printed} {complaint}");
    assert_eq!(names(pond.lines("names remove a:* --for-good")), ["a:1", "a:2", "a:2"]);
    assert_eq!((pond.names("*"), pond.names("--removed").len()), (vec!["b:1".to_owned()], 0));
    let (code, _, complaint) = ask(&pond.server, "names restore a:*");
    assert!(code == 3 && complaint.contains("nothing was removed"), "{complaint}");

    let me = format!("local:{}", rustix::process::getuid().as_raw());
    let deeds: Vec<_> = (pond.lines(&format!("audit --who {me}")).iter())
        .map(|entry| format!("{} {}", entry["what"].as_str().unwrap(), entry["name"].as_str().unwrap()))
        .collect();
    let expected =
        ["set-aside a:1", "set-aside a:2", "restored a:1", "removed a:1", "removed a:2", "removed a:2"];
    assert_eq!(deeds, expected);
}

#[test]
fn what_was_let_go_does_not_come_back_and_is_told_from_what_was_never_there() {
    let pond = Pond::new(&["--max-size", "8MB", "--lease", "0s"]);
    let mut random = seeded("names let go");
    pond.push("old:1", &random.bytes(100_000));
    pond.push("old:2", &random.bytes(100_000));
    pond.lines("names remove old:2");
    assert_eq!(pond.fetch("never:1"), Code::NotFound);
    let before = answer(&pond.server, "waterline --json");
    assert_eq!((&before["waterline"], &before["unknown_lookups"]), (&0.into(), &1.into()));
    for number in 0.. {
        pond.push(&format!("new:{number}"), &random.bytes(700_000));
        let names = pond.names("*");
        if !names.contains(&"old:1".to_owned()) {
            break;
        }
    }
    assert_eq!(pond.fetch("old:1"), Code::NotFound);
    let after = answer(&pond.server, "waterline --json");
    assert_eq!((&after["let_go_lookups"], &after["unknown_lookups"]), (&1.into(), &1.into()), "{after}");
    let waterline = after["waterline"].as_u64().unwrap();
    assert!(waterline > 0 && waterline <= after["now"].as_u64().unwrap(), "{after}");
    let (code, text, _) = ask(&pond.server, "waterline");
    assert!(code == 0 && text.contains("1 of names that had been let go"), "{text}");
    // What was set aside goes as it would have gone; or its row is still there, but its blobs are not.
    let (code, printed, complaint) = ask(&pond.server, "names restore old:2");
    assert_eq!(code, 3, "{printed} {complaint}");
    assert_eq!(pond.fetch("old:2"), Code::NotFound);
}

#[test]
fn bytes_of_blobs_and_entries_of_trees_are_shown() {
    let pond = Pond::new(&[]);
    let content = seeded("blobs shown").bytes(3_000_000);
    pond.push("a:1", &content);
    let digest = digest_of(&content);
    let digest = format!("{}/{}", digest.hash.as_str(), digest.size_bytes);
    let cat = |arguments: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.arg("cat").args(arguments.split(' ')).arg("--data").arg(pond.server.data());
        let output = command.output().unwrap();
        (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let (code, bytes, complaint) = cat(&digest);
    assert_eq!((code, complaint.as_str()), (0, ""));
    assert!(bytes == content);
    let (_, part, _) = cat(&format!("{digest} --offset 1000000 --length 5"));
    assert_eq!(part, content[1_000_000..1_000_005]);
    assert!(cat(&digest.replace('/', "/1")).2.contains("is not in the cache"));
    for command in ["cat", "ls"] {
        let (code, _, complaint) = ask(&pond.server, &format!("{command} zzz"));
        assert!(code == 2 && complaint.contains("no digest: write HASH/SIZE"), "{complaint}");
    }

    let directory = |directory: &Directory| Blob::new(directory.encode_to_vec());
    let file = Blob::new(b"#!/bin/sh\n".to_vec());
    let link = SymlinkNode { name: "link".into(), target: "bin/run".into(), ..Default::default() };
    let node = FileNode {
        name: "run".into(),
        digest: Some(file.digest.clone()),
        is_executable: true,
        ..Default::default()
    };
    let below = directory(&Directory { files: vec![node], ..Default::default() });
    let child = DirectoryNode { name: "bin".into(), digest: Some(below.digest.clone()) };
    let root = directory(&Directory { directories: vec![child], symlinks: vec![link], ..Default::default() });
    pond.runtime.block_on(async {
        let mut client = Client::connect(pond.server.url()).await.unwrap();
        client.update(&[file, below, root.clone()]).await.unwrap();
    });
    let root = format!("{}/{}", root.digest.hash.as_str(), root.digest.size_bytes);
    let paths = |arguments: &str| -> Vec<String> {
        let lines = pond.lines(&format!("ls {arguments}"));
        let one =
            |line: &Value| format!("{} {}", line["kind"].as_str().unwrap(), line["path"].as_str().unwrap());
        lines.iter().map(one).collect()
    };
    assert_eq!(paths(&root), ["directory bin", "link link"]);
    assert_eq!(paths(&format!("{root} -R")), ["directory bin", "link link", "file bin/run"]);
    assert_eq!(paths(&format!("{root}:/bin")), ["file run"]);
    assert_eq!(paths(&format!("{root}:/bin/run")), ["file run"]);
    let (code, text, _) = ask(&pond.server, &format!("ls {root} -R"));
    assert!(code == 0 && text.contains("-rwxr-xr-x           10  bin/run"), "{text}");
    assert!(text.contains("link -> bin/run"), "{text}");
    for (what, part) in
        [(format!("{root}:/none"), "is not in the cache"), (digest, "is no Directory, Artifact or Source")]
    {
        let (code, _, complaint) = ask(&pond.server, &format!("ls {what}"));
        assert!(code == 1 && complaint.contains(part), "{complaint}");
    }
}
