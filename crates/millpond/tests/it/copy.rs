//! Names of a server that runs come into another one by its protocol, whole or not at all, and are compared with what is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use millpond_proto::buildstream::{Artifact, artifact};
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::admin::{answer, ask};
use crate::battery::{Blob, Client, Ledger, Name, Pushed, Random, hold, seeded};
use crate::fsck::flip_bit_of;
use crate::issued::Keys;
use crate::names::Pond;
use crate::server::Server;

const ARTIFACT: &str = "urn:fdc:buildstream.build:2020:artifact:";

/// What a command that asks `server` of another one says as JSON, and how it ends.
pub(crate) fn told(server: &Server, arguments: &str) -> (i32, Value) {
    let (code, printed, complaint) = ask(server, &format!("{arguments} --json"));
    (code, serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{arguments}: {printed}{complaint}")))
}

/// A server with names of all kinds, what they must answer, and a file that lists them.
struct Origin {
    pond: Pond,
    ledger: Ledger,
    list: PathBuf,
    count: usize,
    _folder: TempDir,
}

impl Origin {
    fn new(random: &mut Random, pushes: u32) -> Self {
        let (pond, ledger, project) = (Pond::new(&[]), Ledger::default(), random.next());
        for _ in 0..pushes {
            let pushed = Pushed::any(random, project);
            let (names, value) = (pushed.names(), Arc::new(pushed.value()));
            // What such an asset refers to was told when it was pushed, and is told nobody again.
            if names.iter().any(|name| matches!(name, Name::Blob(uri) if uri.starts_with("https:"))) {
                continue;
            }
            let begun = ledger.begin(&names, &value);
            pond.push_whole(&pushed);
            ledger.acknowledge(&names, begun);
        }
        let folder = TempDir::new().unwrap();
        let list = folder.path().join("names");
        let names: Vec<_> = ledger.names().iter().map(text).collect();
        fs::write(&list, format!("# Names\n\n{}\n", names.join("\n"))).unwrap();
        Self { pond, ledger, list, count: names.len(), _folder: folder }
    }

    fn url(&self) -> &str {
        self.pond.server.url()
    }

    fn names(&self) -> String {
        format!("{} --from-file {}", self.url(), self.list.display())
    }

    /// Fails unless all of it is in the other server.
    fn assert_is_in(&self, to: &Pond) {
        to.runtime.block_on(hold(to.server.url(), &self.ledger, self.ledger.now()));
        assert_eq!(self.ledger.complaints(), Vec::<String>::new());
    }
}

fn text(name: &Name) -> String {
    match name {
        Name::Blob(uri) | Name::Directory(uri) => uri.clone(),
        Name::Action(action) => format!("action:{}/{}", action.hash, action.size_bytes),
    }
}

#[test]
fn names_of_all_kinds_come_whole_and_only_once() {
    let from = Origin::new(&mut seeded("copy"), 60);
    let to = Pond::new(&[]);
    let (code, planned) = told(&to.server, &format!("copy {} --dry-run", from.names()));
    assert_eq!((code, &planned["names"]), (0, &from.count.into()), "{planned}");
    let status = answer(&to.server, "status --json");
    assert_eq!((&status["names"], &status["blobs"]), (&0.into(), &0.into()), "{status}");

    let (code, copied) = told(&to.server, &format!("copy {}", from.names()));
    let figures = ["of_names", "names", "blobs", "bytes"];
    assert_eq!((code, figures.map(|figure| &copied[figure])), (0, figures.map(|figure| &planned[figure])));
    from.assert_is_in(&to);

    let (code, again) = told(&to.server, &format!("copy {}", from.names()));
    assert_eq!((code, &again["present"], &again["blobs"]), (0, &from.count.into(), &0.into()), "{again}");
    for names in [from.url(), &from.names()] {
        let (code, compared) = told(&to.server, &format!("verify {names}"));
        assert_eq!((code, &compared["same"]), (0, &from.count.into()), "{compared}");
    }
    let audit = ask(&to.server, "audit --json").1;
    assert_eq!(audit.matches("\"published\"").count(), from.count);
    assert_eq!(ask(&to.server, "fsck").0, 0);
}

#[test]
fn differences_are_told_and_other_values_are_kept() {
    let (from, to) = (Pond::new(&[]), Pond::new(&[]));
    for (name, there, here) in [
        ("a:same", Some("same"), Some("same")),
        ("a:other", Some("there"), Some("here")),
        ("a:there", Some("x"), None),
        ("a:here", None, Some("y")),
    ] {
        there.iter().for_each(|content| from.push(name, content.as_bytes()));
        here.iter().for_each(|content| to.push(name, content.as_bytes()));
    }
    let url = from.server.url();
    let names = format!("{url} a:same a:other a:there a:here a:none no-name");
    let (code, compared) = told(&to.server, &format!("verify {names}"));
    let difference = |name: &str| {
        let differences = compared["differences"].as_array().unwrap();
        let of_name: Vec<_> = differences.iter().filter(|difference| difference["name"] == name).collect();
        assert!(of_name.len() <= 1, "{compared}");
        of_name.first().map(|difference| difference["difference"].as_str().unwrap())
    };
    for (name, expected) in [
        ("a:same", None),
        ("a:other", Some("other-value")),
        ("a:there", Some("only-there")),
        ("a:here", Some("only-here")),
        ("a:none", Some("nowhere")),
        ("no-name", Some("unknown")),
    ] {
        assert_eq!(difference(name), expected, "{name}: {compared}");
    }
    assert_eq!((code, &compared["same"], &compared["differ"]), (3, &1.into(), &5.into()));
    // All that are here, and no others.
    let (code, compared) = told(&to.server, &format!("verify {url}"));
    assert_eq!((code, &compared["same"], &compared["differ"]), (3, &1.into(), &2.into()), "{compared}");

    let (code, text, complaint) = ask(&to.server, &format!("copy {names}"));
    assert_eq!(code, 3, "{complaint}");
    for line in [
        "left out: a:none: it is not there\n",
        "left out: a:here: it is not there\n",
        "left out: no-name: it is no name: write ",
        "taken over: 1 of 6 names, 1 blob of 1 B\n",
        "here already: 1\n",
        "keep the other value that they have here: 1\n",
        "left out: 3\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(
        complaint.contains("3 names were left out: broken there, not to be had, or refused here"),
        "{complaint}"
    );
    assert_eq!(difference_of(&to, url, "a:other").as_deref(), Some("other-value"));
    assert_eq!(difference_of(&to, url, "a:there"), None);
    assert_eq!(ask(&to.server, &format!("copy {url} a:other --replace --dry-run")).0, 0);
    assert_eq!(difference_of(&to, url, "a:other").as_deref(), Some("other-value"));
    let (code, text, complaint) = ask(&to.server, &format!("copy {url} a:other a:same --replace"));
    assert!(code == 0 && text.contains("taken over: 1 of 2 names"), "{text}{complaint}");
    assert_eq!(difference_of(&to, url, "a:other"), None);
    let (_, audit, _) = ask(&to.server, "audit");
    assert!(audit.lines().any(|line| line.contains("replaced") && line.contains("a:other")), "{audit}");
}

#[test]
fn what_has_become_bad_here_is_told_and_heals_by_a_copy() {
    let (from, to) = (Pond::new(&[]), Pond::new(&[]));
    let content = seeded("copy that heals").bytes(20_000);
    for pond in [&from, &to] {
        pond.push("a:one", &content);
    }
    let url = from.server.url();
    assert_eq!(difference_of(&to, url, "a:one"), None);
    flip_bit_of(&content[100..150], to.server.data());
    assert_eq!(ask(&to.server, "fsck").0, 3);
    let (code, compared) = told(&to.server, &format!("verify {url}"));
    assert_eq!((code, &compared["differences"][0]["difference"]), (3, &"lacks-here".into()), "{compared}");
    let (code, copied) = told(&to.server, &format!("copy {url} a:one"));
    assert_eq!((code, &copied["names"], &copied["blobs"]), (0, &1.into(), &1.into()), "{copied}");
    assert_eq!(difference_of(&to, url, "a:one"), None);
}

/// BuildStream 2 publishes an artifact by two names, and looks for either.
#[test]
fn other_name_of_an_artifact_is_compared_and_comes_with_it() {
    let (from, to) = (Pond::new(&[]), Pond::new(&[]));
    let artifact = |version| Artifact {
        version,
        strong_key: "strong".into(),
        weak_key: "weak".into(),
        ..Default::default()
    };
    let push = |pond: &Pond, key: &str, version| {
        pond.push(&format!("{ARTIFACT}app/one/{key}"), &artifact(version).encode_to_vec());
    };
    push(&from, "strong", 1);
    push(&from, "weak", 1);
    push(&to, "strong", 1);
    let question = format!("{} app/one/strong", from.server.url());
    let compared = |code: i32| {
        let (ended, compared) = told(&to.server, &format!("verify {question}"));
        assert_eq!(ended, code, "{compared}");
        let difference = &compared["differences"][0];
        (compared["same"].clone(), difference["name"].clone(), difference["difference"].clone())
    };
    let missing = ("artifact:app/one/weak".into(), "only-there".into());
    assert_eq!(compared(3), (1.into(), missing.0, missing.1));
    let (code, copied) = told(&to.server, &format!("copy {question}"));
    assert_eq!((code, &copied["names"], &copied["present"]), (0, &1.into(), &1.into()), "{copied}");
    assert_eq!(compared(0), (2.into(), Value::Null, Value::Null));
    // It has moved on there, and not here.
    push(&from, "weak", 2);
    assert_eq!(compared(3), (1.into(), "artifact:app/one/weak".into(), "other-value".into()));
    // And here: now it is another artifact's.
    push(&to, "weak", 2);
    assert_eq!(compared(0), (1.into(), Value::Null, Value::Null));
}

fn difference_of(pond: &Pond, url: &str, name: &str) -> Option<String> {
    let (_, compared) = told(&pond.server, &format!("verify {url} {name}"));
    compared["differences"][0]["difference"].as_str().map(str::to_owned)
}

/// Pushes an artifact that was built with others.
pub(crate) fn push_built_with(pond: &Pond, key: &str, needed: &[&str]) {
    let dependency = |key: &&str| {
        let parts: Vec<&str> = key.split('/').collect();
        artifact::Dependency {
            project_name: parts[0].into(),
            element_name: format!("{}.bst", parts[1]),
            cache_key: parts[2].into(),
            ..Default::default()
        }
    };
    let message = Artifact {
        version: 2,
        strong_key: key.into(),
        build_deps: needed.iter().map(dependency).collect(),
        ..Default::default()
    };
    pond.push(&format!("{ARTIFACT}{key}"), &message.encode_to_vec());
}

#[test]
fn dependencies_are_followed_and_what_is_not_there_is_told() {
    let (from, to) = (Pond::new(&[]), Pond::new(&[]));
    push_built_with(&from, "app/main/1", &["app/lib/2", "sdk/base/3"]);
    push_built_with(&from, "app/lib/2", &["sdk/base/3", "sdk/gone/4"]);
    // Nothing is followed twice, and nothing for ever.
    push_built_with(&from, "sdk/base/3", &["sdk/base/3", "app/main/1"]);
    let start = format!("{} app/main/1", from.server.url());
    let (code, alone) = told(&to.server, &format!("copy {start} --dry-run"));
    assert_eq!((code, &alone["names"], &alone["of_names"]), (0, &1.into(), &1.into()), "{alone}");
    for (flags, names, present) in [(" --dry-run", 3, 0), ("", 3, 0), ("", 0, 3)] {
        let (code, copied) = told(&to.server, &format!("copy {start} --with-dependencies{flags}"));
        assert_eq!(
            (code, &copied["names"], &copied["present"]),
            (3, &names.into(), &present.into()),
            "{copied}"
        );
        let broken = &copied["broken"];
        assert_eq!(broken.as_array().unwrap().len(), 1, "{copied}");
        assert_eq!(
            (&broken[0]["name"], &broken[0]["why"]),
            (&format!("{ARTIFACT}sdk/gone/4").into(), &"it is not there".into())
        );
    }
    let (code, compared) = told(&to.server, &format!("verify {start} --with-dependencies"));
    assert_eq!((code, &compared["same"], &compared["differ"]), (3, &3.into(), &1.into()), "{compared}");
    assert_eq!(to.names("artifact:*").len(), 3);
}

#[test]
fn key_and_token_are_shown_through_tls_and_told_nobody() {
    let keys = Keys::new();
    keys.run(&["keys", "issue", "alice", "--push"]);
    let token = keys.token_file("ci", "--pull");
    let config = keys.folder().join("millpond.toml");
    fs::write(
        &config,
        "[identity]\nkeys = \"keys\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\nanonymous = \"none\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let from = Server::start_where_configured(&["--config", config.to_str().unwrap()]);
    let status = answer(&from, "status --json");
    let address = |number: usize| status["listeners"][number]["address"].as_str().unwrap().to_owned();
    let (url, plain) = (format!("grpcs://{}", address(0)), format!("http://{}", address(1)));
    let server = Server::start_by(&["env", "MILLPOND_LOG=debug"], &[]);
    let to = Pond { server, runtime: Runtime::new().unwrap() };
    let blob = Blob::new(&b"behind a key"[..]);
    push_asset(&to, &plain, "a:secret", &blob);

    let [cert, key] = keys.client("alice").map(|path| path.display().to_string());
    let ca = keys.ca().display().to_string();
    let token_file = token.display().to_string();
    let run = |shown: &str| ask(&to.server, &format!("copy {url} a:secret{shown}"));
    for (shown, code, part) in [
        (String::new(), 1, "UnknownIssuer"),
        (format!(" --ca-cert {ca}"), 1, "(Unauthenticated)"),
        (format!(" --ca-cert {cert}"), 1, "TLS"),
        (format!(" --ca-cert {ca} --client-cert {cert}"), 2, "--client-key"),
        (format!(" --ca-cert {ca} --client-cert {cert} --client-key {cert}"), 1, "private key"),
        (format!(" --ca-cert {ca} --token-file /nowhere"), 2, "/nowhere cannot be read"),
        (format!(" --ca-cert {ca} --token-file {token_file} --dry-run"), 0, ""),
        (format!(" --ca-cert {ca} --client-cert {cert} --client-key {key}"), 0, ""),
    ] {
        let (ended, text, complaint) = run(&shown);
        assert!(ended == code && complaint.contains(part), "{shown}: {ended} {text}{complaint}");
    }
    let unencrypted = url.replace("grpcs", "http");
    let remedy = format!("{unencrypted}: this port speaks TLS: {}", url.replace("grpcs", "https"));
    for command in ["copy", "verify"] {
        let (code, _, complaint) = ask(&to.server, &format!("{command} {unencrypted} a:secret"));
        assert!(code == 1 && complaint.contains(&remedy), "{complaint}");
    }
    assert_eq!(difference_of(&to, &plain, "a:secret"), None);
    // Names that this token may not look up cost themselves alone.
    let narrow = keys.folder().join("narrow");
    fs::write(&narrow, keys.run(&["tokens", "issue", "narrow", "--pull", "--name", "a:secret"])).unwrap();
    from.wait_for("identities were read anew", 1);
    let others: Vec<_> = (0..6).map(|number| format!("a:other-{number}")).collect();
    others.iter().for_each(|name| push_asset(&to, &plain, name, &blob));
    let shown = format!("--ca-cert {ca} --token-file {}", narrow.display());
    let (code, copied) = told(&to.server, &format!("copy {url} {} a:secret {shown}", others.join(" ")));
    assert_eq!(
        (code, &copied["present"], copied["broken"].as_array().unwrap().len()),
        (3, &1.into(), 6),
        "{copied}"
    );
    let elsewhere = format!("verify http://cache.example.org a:secret --token-file {token_file}");
    let (code, _, complaint) = ask(&to.server, &elsewhere);
    assert!(code == 1 && complaint.contains("could be read on its way"), "{complaint}");
    let secret = fs::read_to_string(&token).unwrap().trim().to_owned();
    assert!(!secret.is_empty() && !to.server.log().contains(&secret) && !from.log().contains(&secret));
}

/// Pushes an asset to a server at this address.
fn push_asset(pond: &Pond, url: &str, uri: &str, blob: &Blob) {
    let push = millpond_proto::asset::PushBlobRequest {
        uris: vec![uri.into()],
        blob_digest: Some(blob.digest.clone()),
        ..Default::default()
    };
    pond.runtime.block_on(async {
        let mut client = Client::connect(url).await.unwrap();
        client.update(std::slice::from_ref(blob)).await.unwrap();
        client.push.push_blob(push).await.unwrap();
    });
}

#[test]
fn copy_goes_on_where_it_was_once_the_other_server_is_back() {
    let mut from = Origin::new(&mut seeded("copy killed"), 40);
    let to = Pond::new(&[]);
    let (_, planned) = told(&to.server, &format!("copy {} --dry-run", from.names()));
    // Slow enough to be met in the middle.
    let rate = planned["bytes"].as_u64().unwrap() / 8;
    let mut copying = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(format!("copy {} --rate {rate}", from.names()).split(' '))
        .arg("--data")
        .arg(to.server.data())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| answer(&to.server, "status --json")["names"].as_u64().unwrap() > 0);
    from.pond.server.kill();
    let output = {
        assert!(copying.try_wait().unwrap().is_none(), "it was through before");
        copying.wait_with_output().unwrap()
    };
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    for part in ["the other server answers no more: ", "begin again once it answers"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    let some = answer(&to.server, "status --json")["names"].as_u64().unwrap();
    assert!(some > 0 && some < from.count as u64, "{some} of {}", from.count);

    from.pond.server.start_again();
    let (code, rest) = told(&to.server, &format!("copy {}", from.names()));
    assert_eq!((code, &rest["present"]), (0, &some.into()), "{rest}");
    assert!(rest["bytes"].as_u64() < planned["bytes"].as_u64(), "{rest}");
    from.assert_is_in(&to);
}

#[test]
fn copy_whose_asker_goes_ends() {
    let from = Origin::new(&mut seeded("copy left"), 20);
    let to = Pond::new(&[]);
    let mut copying = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(format!("copy {} --rate 1KB", from.names()).split(' '))
        .arg("--data")
        .arg(to.server.data())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| answer(&from.pond.server, "status --json")["connections"].as_u64() != Some(0));
    copying.kill().unwrap();
    copying.wait().unwrap();
    wait_until(|| answer(&from.pond.server, "status --json")["connections"].as_u64() == Some(0));
}

fn wait_until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "it never came to that");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn wrong_directory_and_malformed_name_are_told_with_what_is_wanted() {
    let (pond, folder) = (Pond::new(&[]), TempDir::new().unwrap());
    fs::create_dir_all(folder.path().join("cas/objects")).unwrap();
    let (code, _, complaint) = ask(&pond.server, &format!("import bst1 {}", folder.path().display()));
    assert!(code != 0 && complaint.contains("cas/refs/heads"), "{complaint}");
    let (code, printed, complaint) = ask(&pond.server, &format!("copy {} nonsense", pond.server.url()));
    assert!(code == 3 && printed.contains("write PROJECT/ELEMENT/KEY"), "{printed}");
    assert!(complaint.contains("1 name was") && complaint.contains("says why"), "{complaint}");
}

#[test]
fn what_is_no_other_server_is_told() {
    let to = Server::start();
    let nobody = "http://127.0.0.1:1";
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = Path::new(empty.path()).display().to_string();
    for (arguments, code, part) in [
        (format!("copy {nobody}"), 2, "there are no names to be copied"),
        (format!("copy {nobody} --from-file {empty}"), 2, "there are no names in"),
        (format!("copy {nobody} --from-file /nowhere"), 2, "/nowhere cannot be read"),
        ("copy cache:11001 a/b/c".into(), 1, "write http://HOST:PORT"),
        (format!("copy {nobody} a/b/c"), 1, "Connection refused"),
        (format!("verify {nobody}"), 1, "Connection refused"),
        (format!("verify {nobody} --to-instance other"), 1, "other"),
        (format!("verify {nobody} --with-dependencies"), 2, "there are no names whose"),
    ] {
        let (ended, _, complaint) = ask(&to, &arguments);
        assert!(ended == code && complaint.contains(part), "{arguments}: {ended} {complaint}");
    }
}
