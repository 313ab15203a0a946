//! `millpond setup`: from nothing to a server that speaks TLS, twice, and after it was broken off.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::battery::Blob;
use crate::server::Server;
use crate::tls::Client;

/// Its exit code, and what it said on standard output and standard error.
fn said(folder: &Path, arguments: &str, domain: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    domain.map(|domain| command.env("MILLPOND_DOMAIN", domain));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn set_up(folder: &Path) -> String {
    let (code, printed, complaint) = said(folder, "setup", Some("127.0.0.1,cache.example.org"));
    assert_eq!((code, complaint.as_str()), (0, ""), "{printed}");
    printed
}

/// Every file of the directory of keys with its content.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.join("millpond-keys")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn second_run_changes_nothing_and_prints_the_same() {
    let folder = TempDir::new().unwrap();
    let first = set_up(folder.path());
    for part in [
        "url: https://127.0.0.1:11001",
        "url: https://127.0.0.1:11002",
        "push: true",
        "clients/pusher/client.key",
        "# BuildStream 1:",
        "millpond serve --config ",
        "127.0.0.1, cache.example.org, localhost",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let before = content(folder.path());
    assert_eq!(set_up(folder.path()), first);
    // The name is needed once.
    assert_eq!(said(folder.path(), "setup", None).1, first);
    assert_eq!(content(folder.path()), before);
    assert!(!folder.path().join("millpond-data").exists());

    let (code, printed, complaint) = said(folder.path(), "setup --domain elsewhere.example.org", None);
    assert_eq!((code, printed), (0, first));
    assert!(complaint.contains("keys renew server elsewhere.example.org"), "{complaint}");
    let (code, printed, complaint) = said(folder.path(), "setup --data other --pusher ci", None);
    assert!(code == 0 && printed.starts_with("set up: ") && !printed.contains("ci pushes"), "{printed}");
    for part in [
        "warning: --data ",
        "/other is not taken up",
        "change data in [store] there",
        "millpond keys issue ci --push`",
    ] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    let (_, _, complaint) = said(folder.path(), "setup --data millpond-data --pusher pusher", None);
    assert_eq!(complaint, "");
    assert_eq!(content(folder.path()), before);
}

#[test]
fn what_was_broken_off_is_gone_on_with_and_what_was_taken_back_stays_so() {
    let folder = TempDir::new().unwrap();
    set_up(folder.path());
    let keys = folder.path().join("millpond-keys");
    for missing in [&["server.crt", "server.key"][..], &["millpond.toml"], &["identities.json"]] {
        missing.iter().for_each(|file| fs::remove_file(keys.join(file)).unwrap());
        let printed = set_up(folder.path());
        assert!(printed.contains("pusher pushes, until"), "{missing:?}: {printed}");
        assert!(missing.iter().all(|file| keys.join(file).exists()), "{missing:?}");
    }
    assert_eq!(said(folder.path(), "keys revoke pusher", None).0, 0);
    let printed = set_up(folder.path());
    assert!(!printed.contains("pusher pushes") && printed.contains("keys issue NAME"), "{printed}");
}

#[test]
fn without_a_name_nothing_is_made() {
    let folder = TempDir::new().unwrap();
    for (arguments, domain) in [("setup", None), ("setup", Some("")), ("serve --setup", None)] {
        let (code, printed, complaint) = said(folder.path(), arguments, domain);
        assert_eq!((code, printed.as_str()), (2, ""), "{arguments}: {complaint}");
        assert!(complaint.contains("MILLPOND_DOMAIN") && complaint.contains("\nhint: "), "{complaint}");
    }
    let (code, _, complaint) = said(folder.path(), "setup", Some("https://cache.example.org"));
    assert!(code == 2 && complaint.contains("neither a host name nor"), "{complaint}");
    assert!(!folder.path().join("millpond-keys/ca.crt").exists());
}

/// On ports of the test's own: the two of the convention are one pair for all of a machine.
#[test]
fn serve_sets_up_what_is_not_there_and_is_open_to_nobody_unknown() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let keys = folder.path().join("keys");
    let config = folder.path().join("millpond.toml");
    fs::write(&config, "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\nanonymous = \"none\"\n")
        .unwrap();
    let (keys_path, config_path) = (keys.to_str().unwrap(), config.to_str().unwrap());
    let arguments =
        ["--setup", "--domain", "127.0.0.1", "--pusher", "ci", "--keys", keys_path, "--config", config_path];
    let mut server = Server::start_where_configured(&arguments);
    let said = server.log();
    assert!(said.contains("ci pushes, until") && !said.contains("everybody who pulls"), "{said}");

    let address = server.url().split_once("://").unwrap().1.to_owned();
    let runtime = Runtime::new().unwrap();
    let blob = Blob::new(&b"built by ci"[..]);
    let ca = keys.join("ca.crt");
    let nobody = Client::connect(&runtime, &address, &ca, None);
    assert_eq!(nobody.finds(&runtime, &blob).unwrap_err().code(), Code::Unauthenticated);
    let ci = ["client.crt", "client.key"].map(|file| keys.join("clients/ci").join(file));
    Client::connect(&runtime, &address, &ca, Some(ci)).push(&runtime, &blob).unwrap();

    server.stop();
    server.start_again();
    assert_eq!(server.log().matches("ci pushes, until").count(), 1, "a second start set up again");
}
