//! Hostile clients against the real program: whatever they send, they get a status code with a sentence, nothing of
//! ours is named in it, nothing panics, and another client's push and pull go on.

mod digests;
mod floods;
mod memory;
mod paths;
mod trees;

use std::collections::HashSet;
use std::path::Path;

use millpond_proto::reapi::Digest;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::battery::{Blob, Client, Ledger, Random, bystander};
use crate::server::Server;

/// Words that would tell a client how we keep things.
const OURS: [&str; 7] = ["packs/", ".pack", ".open", "catalog.", "journal/", "sqlite", "/data"];

/// Strings that mean a path, or an end of one, to careless code.
const PATHS: [&str; 9] = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    "a/../../b",
    "..\\..\\windows",
    "file:///etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "packs/00/1.pack",
    "\u{202e}\n\r\t\u{1}",
];

/// The server, one who attacks it, and one who must not notice.
struct Scene {
    runtime: Runtime,
    server: Server,
    attacker: Client,
    ledger: Ledger,
    random: Random,
    files: HashSet<String>,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    /// A scene whose server has more arguments.
    fn with(arguments: &[&str]) -> Self {
        let server = Server::start_with(&[&["--max-size", "1GB"], arguments].concat());
        let runtime = Runtime::new().unwrap();
        let attacker = runtime.block_on(Client::connect(server.url())).unwrap();
        let files = beside(server.data());
        Self { runtime, server, attacker, ledger: Ledger::default(), random: Random::new(7), files }
    }

    /// What an attack got. Its words must be for a client.
    #[track_caller]
    fn code<T>(&mut self, attack: impl Future<Output = Result<T, Status>>) -> Code {
        let Err(status) = self.runtime.block_on(attack) else { return Code::Ok };
        let words = status.message().to_owned();
        assert!(!words.is_empty(), "{:?} without words", status.code());
        assert!(!matches!(status.code(), Code::Internal | Code::Unknown), "{:?}: {words}", status.code());
        // What the attacker sent may come back.
        let words = PATHS.iter().fold(words, |words, path| words.replace(path, ""));
        let data = self.server.data().to_str().unwrap();
        let told = OURS.iter().chain([&data]).find(|ours| words.contains(**ours));
        assert!(told.is_none(), "tells {told:?}: {words}");
        status.code()
    }

    /// Another client pushes and pulls; the server has not panicked; no file came to be where none belongs.
    #[track_caller]
    fn others_notice_nothing(&mut self) {
        let url = self.server.url().to_owned();
        let pushed = self.runtime.block_on(bystander(&url, &mut self.random, &self.ledger));
        assert!(pushed.is_ok(), "another client was disturbed: {pushed:?}");
        assert_eq!(self.ledger.complaints(), Vec::<String>::new());
        assert!(!self.server.log().contains("panicked"), "the server panicked");
        assert_eq!(beside(self.server.data()), self.files);
    }

    fn put(&mut self, message: &impl Message) -> Digest {
        let blob = Blob::new(message.encode_to_vec());
        self.runtime.block_on(self.attacker.update(std::slice::from_ref(&blob))).unwrap();
        blob.digest
    }
}

/// The files around and in the data directory, packs and journals apart.
fn beside(data: &Path) -> HashSet<String> {
    let folders = [data.parent().unwrap(), data];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm") && !name.contains("snapshot"))
        // They are made some time after the start.
        .filter(|name| name != "ballast" && name != "scrub")
        .collect()
}
