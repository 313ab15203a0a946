//! The configuration read anew while the server runs: at SIGHUP, by `config reload`, and when the file has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use millpond_proto::asset::PushBlobRequest;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin::{answer, ask};
use crate::battery::{Client, seeded};
use crate::full_volume::{blobs, figure, is_there, name, upload};
use crate::issued::Keys;
use crate::server::Server;

/// A server with this configuration, and the file that has it.
fn configured(text: &str) -> (Server, PathBuf, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millpond.toml");
    fs::write(&path, text).unwrap();
    let server = Server::start_with(&["--config", path.to_str().unwrap()]);
    (server, path, folder)
}

/// Which settings an answer of `config reload --json` names below this key.
fn named(answer: &Value, key: &str) -> Vec<String> {
    let name = |setting: &Value| {
        format!("{} {}", setting["section"].as_str().unwrap(), setting["key"].as_str().unwrap())
    };
    answer[key].as_array().unwrap().iter().map(name).collect()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn what_can_be_taken_up_is_and_the_rest_is_named_until_a_start() {
    let (mut server, path, _folder) = configured("[store]\nmax_size = '60MB'\n");
    assert_eq!(answer(&server, "status --json")["limit_bytes"], 60_000_000);
    let (code, said, _) = ask(&server, "config reload");
    assert_eq!((code, said.as_str()), (0, "nothing has changed\n"));

    let changed = "[store]\nmax_size = '80MB'\nlease = '5 hours'\nscrub = '7d'\n\
                   [[retention]]\nproject = 'sdk'\nkeep = '2 years'\n\
                   [[quota]]\nidentities = 'ci-*'\nrequests_per_minute = 7\n[log]\nfilter = 'debug'\n";
    write(&path, changed);
    let planned = answer(&server, "config reload --dry-run --json");
    assert_eq!(answer(&server, "status --json")["limit_bytes"], 60_000_000, "nothing was to be taken up");
    let taken = answer(&server, "config reload --json");
    assert_eq!(planned, taken);
    let wanted = ["[log] filter", "[store] lease", "[store] max_size", "[[quota]] ", "[[retention]] "];
    assert_eq!(named(&taken, "taken_up"), wanted);
    assert_eq!(named(&taken, "at_next_start"), ["[store] scrub"]);
    let status = answer(&server, "status --json");
    assert_eq!((&status["limit_bytes"], &status["lease_set_seconds"]), (&80_000_000.into(), &18_000.into()));
    assert_eq!(answer(&server, "log-level --json")["filter"], "debug");
    let (_, plan, _) = ask(&server, "retention plan");
    assert!(plan.contains("sdk") && plan.contains("730d"), "{plan}");

    // What waits for a start is named again, what was taken up is not.
    let again = answer(&server, "config reload --json");
    assert_eq!(
        (named(&again, "taken_up"), named(&again, "at_next_start")),
        (vec![], vec!["[store] scrub".into()])
    );
    let (_, audit, _) = ask(&server, "audit");
    assert!(
        audit.contains("configured") && audit.contains("max_size in [store], [[quota]], [[retention]]"),
        "{audit}"
    );
    assert!(audit.contains("local:"), "{audit}");
    assert_eq!(audit.matches("configured").count(), 1, "{audit}");
    assert_eq!(ask(&server, "log-level warn").0, 0);
    let (_, audit, _) = ask(&server, "audit");
    assert!(audit.contains("log-changed") && audit.contains("warn, before: debug"), "{audit}");

    server.stop();
    server.start_again();
    assert_eq!(named(&answer(&server, "config reload --json"), "at_next_start"), Vec::<String>::new());
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_with_its_line() {
    let (server, path, _folder) = configured("[store]\nmax_size = '60MB'\n");
    let refuses = |text: &str, words: &[&str]| {
        write(&path, text);
        let (code, said, complaint) = ask(&server, "config reload");
        assert_eq!((code, said.as_str()), (2, ""), "{complaint}");
        for word in words {
            assert!(complaint.contains(word), "{word}: {complaint}");
        }
        assert_eq!(answer(&server, "status --json")["limit_bytes"], 60_000_000);
    };
    refuses(
        "[store]\nmax_size = '80MB'\n[limits]\nconections = 1\n",
        &["millpond.toml, line 4", "connections", "hint: "],
    );
    refuses("[store]\nmax_size = '80MB'\nlease = 'soon'\n", &["line 3, lease"]);
    refuses(
        "[store]\nmax_size = '80MB'\n[identity]\nauthorized = 'nowhere.crt'\n",
        &["line 4, authorized", "nowhere.crt"],
    );
    // No look at the file alone can tell this.
    refuses("[store]\nmax_size = '80MB'\nkeep_free = '900TB'\n", &["keep_free leaves nothing"]);

    write(&path, "[store]\nmax_size = \n");
    server.signal(Signal::HUP);
    server.wait_for("the configuration stays as it was", 1);
    assert!(server.log().contains("millpond.toml, line 2"), "{}", server.log());
    write(&path, "[store]\nmax_size = '80MB'\n");
    server.signal(Signal::HUP);
    server.wait_for("a setting was taken up", 1);
    assert_eq!(answer(&server, "status --json")["limit_bytes"], 80_000_000);
    let (_, audit, _) = ask(&server, "audit");
    assert!(audit.contains("configured") && audit.contains("local:server"), "{audit}");
}

#[test]
fn flags_win_over_what_is_read_anew() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millpond.toml");
    write(&path, "[store]\nlease = '1h'\n");
    let server = Server::start_with(&["--config", path.to_str().unwrap(), "--lease", "2h"]);
    write(&path, "[store]\nlease = '4h'\nmax_size = '70MB'\n");
    let taken = answer(&server, "config reload --json");
    assert_eq!(named(&taken, "taken_up"), ["[store] max_size"]);
    assert_eq!(answer(&server, "status --json")["lease_set_seconds"], 7200);
}

#[test]
fn the_file_is_watched_where_that_is_set_and_only_there() {
    let (server, path, _folder) = configured("[store]\nmax_size = '60MB'\n");
    write(&path, "[store]\nmax_size = '70MB'\n[admin]\nwatch = true\n");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(answer(&server, "status --json")["limit_bytes"], 60_000_000);
    assert_eq!(ask(&server, "config reload").0, 0);
    write(&path, "[store]\nmax_size = '80MB'\n[admin]\nwatch = true\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    while answer(&server, "status --json")["limit_bytes"] != 80_000_000 {
        assert!(Instant::now() < deadline, "{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn identities_of_another_file_are_known_at_once() {
    let keys = Keys::new();
    keys.run(&["keys", "issue", "alice", "--push"]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millpond.toml");
    let text = format!("[identity]\nkeys = '{}'\n", keys.path().display());
    write(&path, &text);
    let server = Server::start_with(&["--tls", "--config", path.to_str().unwrap()]);
    let other = Keys::new();
    write(&path, &format!("[identity]\nkeys = '{}'\n", other.path().display()));
    let taken = answer(&server, "config reload --json");
    assert_eq!(named(&taken, "taken_up"), ["[identity] keys"]);
    // The certificate is that of the other directory, which its own authority vouches for and the former does not.
    let address = server.url().trim_start_matches("https://").to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let blob = crate::battery::Blob::new(&b"anything"[..]);
    let client = crate::tls::Client::connect(&runtime, &address, &other.ca(), None);
    assert!(!client.finds(&runtime, &blob).unwrap());
}

#[test]
fn a_smaller_store_lets_go_and_a_limit_counts_on_connections_that_are_there() {
    let (server, path, _folder) = configured("[store]\nmax_size = '200MB'\nlease = '0s'\n");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = runtime.block_on(Client::connect(server.url())).unwrap();
    let mut random = seeded("reload");
    let artifacts: Vec<_> = (0..8).map(|_| blobs(10_000_000, &mut random)).collect();
    runtime.block_on(async {
        for (number, artifact) in artifacts.iter().enumerate() {
            upload(&mut client, artifact).await.unwrap();
            name(&mut client, &format!("reload-{number}"), artifact).await;
            // Levels are whole seconds.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    });
    assert!(figure(&server, "used_bytes") > 80_000_000);
    write(&path, "[store]\nmax_size = '60MB'\nlease = '0s'\n[limits]\nnames_per_push = 8\n");
    let goes = |answer: &Value| answer["warnings"].to_string().contains("letting go begins: ");
    assert!(goes(&answer(&server, "config reload --dry-run --json")));
    assert!(!server.log().contains("letting go begins"), "a dry run is no reload");
    let taken = answer(&server, "config reload --json");
    assert_eq!(named(&taken, "taken_up"), ["[limits] names_per_push", "[store] max_size"]);
    assert!(goes(&taken) && server.log().contains("letting go begins: "), "{taken}");
    assert!(!goes(&answer(&server, "config reload --json")), "it is told once");
    let deadline = Instant::now() + Duration::from_secs(30);
    while figure(&server, "used_bytes") > 60_000_000 {
        assert!(Instant::now() < deadline, "{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
    // What was used last is there, and what was used first is not.
    let there =
        |client: &mut Client, number: usize| runtime.block_on(is_there(client, &format!("reload-{number}")));
    assert_eq!((there(&mut client, 0), there(&mut client, 7)), (false, true));
    let push = PushBlobRequest {
        uris: (0..9).map(|number| format!("many-{number}")).collect(),
        blob_digest: artifacts[7].first().map(|blob| blob.digest.clone()),
        ..Default::default()
    };
    let refused = runtime.block_on(client.push.push_blob(push)).unwrap_err();
    assert!(refused.code() == tonic::Code::InvalidArgument && refused.message().contains('8'), "{refused}");
}
