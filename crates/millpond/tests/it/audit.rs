//! The audit log as an operator meets it: who did what, found by the program, also after a kill.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use millpond_proto::asset::PushBlobRequest;
use millpond_proto::asset::push_client::PushClient;
use millpond_proto::reapi;
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::server::Server;

const CONFIGURATION: &str = "[identity]\nkeys = \"keys\"\n\
                             [[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = \"pull\"\n\
                             [[replacement]]\nnames = \"fixed:*\"\nby = \"nobody\"\notherwise = \"refuse\"\n\
                             [[replacement]]\nnames = \"own:*\"\nby = \"same\"\n";

/// A server, and tokens of those who use it.
struct Pond {
    folder: TempDir,
    server: Server,
    runtime: Runtime,
    tokens: [String; 3],
}

impl Pond {
    fn new(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("millpond.toml");
        fs::write(&path, format!("{CONFIGURATION}{more}")).unwrap();
        let keys = folder.path().join("keys");
        let tokens =
            [("alice", &["--push"][..]), ("bob", &["--push"]), ("carol", &["--push", "--name", "carol:*"])]
                .map(|(name, rights)| {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
                    command.args(["tokens", "issue", name]).args(rights).arg("--keys").arg(&keys);
                    let Output { status, stdout, stderr } = command.output().unwrap();
                    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
                    String::from_utf8(stdout).unwrap().trim().to_owned()
                });
        let server = Server::start_where_configured(&["--config", path.to_str().unwrap()]);
        Self { folder, server, runtime: Runtime::new().unwrap(), tokens }
    }

    fn request<T>(&self, who: usize, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", self.tokens[who]).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }

    /// What a push of a name by one of them comes to.
    fn push(&self, who: usize, name: &str, content: &'static [u8]) -> Code {
        let hash = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = reapi::Digest { hash: hash.into(), size_bytes: content.len().try_into().unwrap() };
        self.runtime.block_on(async {
            let channel =
                Endpoint::from_shared(self.server.url().to_owned()).unwrap().connect().await.unwrap();
            let blob = reapi::batch_update_blobs_request::Request {
                digest: Some(digest.clone()),
                data: content.into(),
                ..Default::default()
            };
            let blobs = reapi::BatchUpdateBlobsRequest { requests: vec![blob], ..Default::default() };
            let mut cas = ContentAddressableStorageClient::new(channel.clone());
            cas.batch_update_blobs(self.request(who, blobs)).await.unwrap();
            let push =
                PushBlobRequest { uris: vec![name.into()], blob_digest: Some(digest), ..Default::default() };
            let pushed = PushClient::new(channel).push_blob(self.request(who, push)).await;
            pushed.map_or_else(|status| status.code(), |_| Code::Ok)
        })
    }

    /// Exit code, standard output and standard error of `millpond audit`.
    fn audit(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.arg("audit").args(arguments.split_whitespace());
        command.arg("--data").arg(self.server.data()).arg("--keys").arg(self.folder.path().join("keys"));
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// What happened, as (deed, who, name).
    fn found(&self, arguments: &str) -> Vec<(String, String, String)> {
        let (code, printed, complaint) = self.audit(&format!("--json {arguments}"));
        assert_eq!((code, complaint.as_str()), (0, ""), "{arguments}");
        let entries = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries.map(|entry| (text(&entry["what"]), text(&entry["who"]), text(&entry["name"]))).collect()
    }

    /// The same of what was done, without who did it.
    fn deeds(&self, arguments: &str) -> Vec<String> {
        self.found(arguments).into_iter().map(|(what, _, name)| format!("{what} {name}")).collect()
    }
}

#[test]
fn everybody_who_pushed_replaced_or_was_refused_is_found() {
    let mut pond = Pond::new("");
    assert_eq!(pond.push(0, "own:a", b"one"), Code::Ok);
    assert_eq!(pond.push(0, "own:a", b"two"), Code::Ok);
    assert_eq!(pond.push(1, "own:a", b"three"), Code::Ok);
    assert_eq!(pond.push(0, "fixed:b", b"one"), Code::Ok);
    assert_eq!(pond.push(1, "fixed:b", b"two"), Code::PermissionDenied);
    for _ in 0..5 {
        assert_eq!(pond.push(2, "own:c", b"one"), Code::PermissionDenied);
    }
    // Refusals are written down beside what is going on.
    while pond.deeds("--who carol").is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    pond.server.kill();
    assert_eq!(pond.deeds("--who alice"), ["published own:a", "replaced own:a", "published fixed:b"]);
    assert_eq!(pond.deeds("--who bob"), ["kept own:a", "refused fixed:b"]);
    assert_eq!(pond.deeds("--who carol"), ["denied own:c"]);
    assert_eq!(pond.deeds("--name own:* --who bob --address 127.*"), ["kept own:a"]);
    assert_eq!(pond.deeds("--address 192.0.2.*"), [""; 0]);
    let issued: Vec<_> = pond.found("--who local:*").into_iter().map(|(what, ..)| what).collect();
    assert_eq!(issued, ["token-issued"; 3]);
    let all = pond.found("").len();
    assert_eq!(all, 9);
    assert_eq!(pond.found("--since 1h").len(), all);
    assert_eq!(pond.found("--until 1h").len() + pond.found("--since 2100-01-01").len(), 0);
    let (code, text, _) = pond.audit("--who bob");
    assert!(code == 0 && text.contains("kept") && text.contains("bob 127.0.0.1  own:a  "), "{text}");
    let (code, text, complaint) = pond.audit("verify");
    assert_eq!(code, 0, "{complaint}");
    assert!(text.contains("6 entries, from 1 to 6") && text.contains("3 entries"), "{text}");

    pond.server.start_again();
    assert_eq!(pond.push(0, "own:d", b"one"), Code::Ok);
    assert_eq!(pond.deeds("--name own:d"), ["published own:d"]);
    assert_eq!(pond.audit("verify").0, 0);
}

#[test]
fn whose_credential_it_was_that_does_not_hold_any_more_is_told() {
    let pond = Pond::new("");
    let keys = pond.folder.path().join("keys");
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(["tokens", "revoke", "alice", "--keys"]).arg(&keys);
    assert!(command.output().unwrap().status.success());
    pond.server.wait_for("identities were read anew", 1);
    pond.runtime.block_on(async {
        let channel = Endpoint::from_shared(pond.server.url().to_owned()).unwrap().connect().await.unwrap();
        let request = pond.request(0, reapi::FindMissingBlobsRequest::default());
        let status =
            ContentAddressableStorageClient::new(channel).find_missing_blobs(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    });
    pond.server.wait_for("identity=\"alice\"", 1);
    while pond.deeds("--who alice").is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    let denied = pond.deeds("--who alice");
    assert!(
        denied.len() == 1 && denied[0].starts_with("denied ") && denied[0].contains("revoked"),
        "{denied:?}"
    );
}

#[test]
fn directories_that_were_named_and_are_not_there_are_no_empty_logs() {
    let pond = Pond::new("");
    for (flag, path) in [("--data", "nowhere"), ("--keys", "keys/audit")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.args(["audit", "verify", flag]).arg(pond.folder.path().join(path));
        let Output { status, stderr, .. } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(10) && said.contains(path), "{said}");
    }
}

#[test]
fn what_was_changed_in_the_files_is_found_and_named() {
    let pond = Pond::new("");
    for name in ["own:a", "own:b", "own:c"] {
        assert_eq!(pond.push(0, name, b"one"), Code::Ok);
    }
    let path = pond.server.data().join("audit/1.log");
    let written = fs::read_to_string(&path).unwrap();
    fs::write(&path, written.replace("own:b", "own:x")).unwrap();
    let (code, _, complaint) = pond.audit("verify");
    assert!(code == 3 && complaint.contains("entry 2 is not there as it was written"), "{complaint}");
    fs::write(&path, written).unwrap();
    assert_eq!(pond.audit("verify").0, 0);
}

#[test]
fn log_takes_no_more_than_it_may_and_can_be_off() {
    let mut pond = Pond::new("[audit]\nkeep = 131072\n");
    for number in 0..600 {
        assert_eq!(pond.push(0, &format!("own:{number}"), b"one"), Code::Ok);
    }
    let folder = pond.server.data().join("audit");
    let bytes: u64 = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 131_072, "{bytes}");
    let deeds = pond.deeds("--who alice");
    assert!(deeds.len() < 600 && deeds.last().unwrap() == "published own:599", "{}", deeds.len());
    assert_eq!(pond.audit("verify").0, 0);
    pond.server.stop();
    let path = pond.folder.path().join("millpond.toml");
    fs::write(&path, format!("{CONFIGURATION}[audit]\nkeep = \"off\"\n")).unwrap();
    pond.server.start_again();
    assert_eq!(pond.push(0, "own:unseen", b"one"), Code::Ok);
    assert_eq!(pond.deeds("--name own:unseen"), [""; 0]);
}
