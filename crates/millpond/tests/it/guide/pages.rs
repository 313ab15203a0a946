//! What each page counts on being there, made before its commands are run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Page;
use crate::bst_import::{Other, casd};
use crate::copy::push_built_with;
use crate::docker::engine::free_port;
use crate::fsck::flip_bit_of;
use crate::names;
use crate::retention;
use crate::server::Server;

/// After so long a server looks by itself whether anything is kept no longer, and then once in ten seconds.
const LOOKS: Duration = Duration::from_secs(11);
/// A volume that is full soon, and of which all may go.
const SMALL: [&str; 4] = ["--max-size", "18MB", "--lease", "0s"];

/// Pushes so many builds, each an artifact with two names, and as many results of actions.
fn fill(page: &mut Page, url: &str, rows: &str, count: u32) {
    page.prepare(&format!("millpond bench --against {url} --rows {rows} --count {count} --connections 2"));
}

/// What a command prints as a line of JSON for each thing.
fn lines(page: &mut Page, command: &str) -> Vec<Value> {
    page.prepare(command).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first that is of a kind.
fn first<'a>(lines: &'a [Value], kind: &str, field: &str) -> &'a str {
    lines.iter().find(|line| line["kind"] == kind).unwrap()[field].as_str().unwrap()
}

fn configured(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

pub(super) fn readme(path: &'static str) {
    let Some(mut page) = Page::alone(path) else { return };
    page.replace("/srv/src/millpond", &page.folder.path().display().to_string());
    page.replace("cargo run --release", "millpond serve");
    page.rest();
}

pub(super) fn administration(path: &'static str) {
    let mut page = Page::open(path);
    let configuration = page.place("millpond.toml");
    configured(&configuration, "[store]\nmax_size = '40GB'\n");
    let data = page.place("srv/millpond");
    let server = Server::start_at(&data, &["--config", configuration.to_str().unwrap()]);
    symlink(&data, page.place("pond")).unwrap();
    fill(&mut page, server.url(), "build-push,action-update", 3);
    // It is made within seconds of the start.
    while !page.prepare("millpond status --data pond").contains("\nballast: ") {
        thread::sleep(Duration::from_millis(50));
    }

    page.until("config reload");
    let changed =
        "[store]\nmax_size = '50GB'\nscrub = '1w'\n[[retention]]\nproject = 'sdk'\nkeep = '2 years'\n";
    configured(&configuration, changed);

    page.until("fsck");
    let all = lines(&mut page, "millpond names list 'artifact:*' --json --data pond");
    let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
    let (bad, good) = (digest(&all[0]), digest(all.last().unwrap()));
    let key = all.last().unwrap()["name"].as_str().unwrap().rsplit('/').next().unwrap();
    let shown = "bfead0a25e5c947e11444d2fe3eb8e09394ba8e6f14f6ae22e36587268587f13";
    page.replace(&shown[..5], &key[..5]);
    page.replace(shown, key);
    page.replace("local:0", &format!("local:{}", rustix::process::getuid().as_raw()));
    let roots = lines(&mut page, &format!("millpond ls {good} --json --data pond"));
    page.replace(
        "43e0938b0c83c2e84695a5c3c47ef29a8f46f8305b3ea68136bd6ed04adb964e/1720",
        first(&roots, "directory", "digest"),
    );
    page.replace(
        "b30b64ce31d547094c91f94b3c58fd9f788b6f1a2558232997e71f2676850270/18",
        first(&roots, "file", "digest"),
    );
    let cat = Command::new(env!("CARGO_BIN_EXE_millpond")).args(["cat", &bad, "--data"]).arg(&data).output();
    flip_bit_of(&cat.unwrap().stdout, &data);
    page.rest();
}

pub(super) fn backup(path: &'static str) {
    let mut page = Page::open(path);
    // Packs of a small volume are small.
    let server = Server::start_at(&page.place("pond"), &["--max-size", "60MB"]);
    fill(&mut page, server.url(), "build-push", 12);
    page.until("--dry-run");
    fill(&mut page, server.url(), "build-push", 12);
    page.until("--names");
    let all = lines(&mut page, "millpond names list 'artifact:*' --json --data pond");
    let name = all[0]["name"].as_str().unwrap();
    let key = name.rsplit('/').next().unwrap();
    page.replace("a845", &key[..4]);
    page.prepare(&format!("millpond names remove {name} --data pond"));
    page.rest();
}

pub(super) fn bench(path: &'static str) {
    let Some(mut page) = Page::alone(path) else { return };
    // As long as it takes to see that all rows run.
    page.replace("millpond bench ", "millpond bench --count 2 --connections 2 ");
    page.until("grpcs://");
    page.prepare("millpond keys init localhost && millpond keys issue ci --push");
    page.prepare("cp millpond-keys/ca.crt millpond-keys/clients/ci/client.* .");
    page.prepare("millpond tokens issue job --push > token");
    page.serve("--tls");
    page.rest();
}

pub(super) fn ci(path: &'static str) {
    let mut page = Page::open(path);
    page.prepare("millpond keys init localhost");
    for (configuration, issuer) in page.examples("toml").into_iter().zip(["gitlab", "github"]) {
        page.until(issuer);
        configured(&page.place("millpond.toml"), &configuration);
    }
    page.rest();
}

pub(super) fn doctor(path: &'static str) {
    let Some(mut page) = Page::alone(path) else { return };
    let configuration = "[store]\ndata = '/srv/millpond'\nmax_size = '40GB'\n[identity]\nkeys = '/etc/millpond/keys'\n\
                         [[listener]]\naddress = '[::]:11001'\ntls = true\n";
    let configuration = page.here(configuration);
    configured(&page.place("etc/millpond/millpond.toml"), &configuration);
    page.prepare("millpond keys init localhost --days 20 --config etc/millpond/millpond.toml");
    page.serve("--config etc/millpond/millpond.toml");
    let (shown, printed) = page.next();
    // Of what it finds much is another machine's; what it looks at is the same.
    let looked_at = |text: &str| -> BTreeSet<String> {
        let lines =
            text.lines().filter(|line| ["good ", "look "].iter().any(|judged| line.starts_with(judged)));
        lines.map(|line| line[6..21].trim_end().to_owned()).collect()
    };
    assert_eq!(looked_at(&shown.output), looked_at(&printed.unwrap()));
    page.rest();
}

pub(super) fn letting_go(path: &'static str) {
    let mut page = Page::open(path);
    let server = Server::start_at(&page.place("srv/millpond"), &SMALL);
    while !page.prepare("millpond status --data srv/millpond").contains("\nlet go: ") {
        fill(&mut page, server.url(), "build-push", 10);
    }
    page.rest();
}

pub(super) fn monitoring(path: &'static str) {
    let mut page = Page::open(path);
    let [metrics, prometheus] = [(); 2].map(|()| free_port());
    page.replace("127.0.0.1:9464", &format!("127.0.0.1:{metrics}"));
    page.replace("127.0.0.1:9090", &format!("127.0.0.1:{prometheus}"));
    page.copy("deploy");
    let _server =
        Server::start_at(&page.place("srv/millpond"), &["--metrics", &format!("127.0.0.1:{metrics}")]);
    page.rest();
}

pub(super) fn moving(path: &'static str) {
    let mut page = Page::open(path);
    let casd = Other::start(|address, data| {
        let mut command = Command::new(casd());
        command.arg(format!("--bind={address}")).arg(data);
        command
    });
    // Its result of an action comes without the action.
    fill(&mut page, &casd.url, "action-update", 1);
    fill(&mut page, &casd.url, "build-push", 6);
    let place = casd.directory().display().to_string();
    let result = page.prepare(&format!("cd {place}/actioncache/objects && ls -d ??/* && cd -"));
    page.replace(
        "09/0015f6e7b1260d6ddef42619da23506227be37edf8629eb281b4521ecedf70",
        result.lines().next().unwrap(),
    );
    page.replace("/srv/casd", &place);
    let _server = Server::start_at(&page.place("srv/millpond"), &[]);

    let other = names::Pond::new(&[]);
    for (key, needed) in
        [("app/all/1", &["app/lib/2", "sdk/base/3"][..]), ("app/lib/2", &["sdk/base/3"]), ("sdk/base/3", &[])]
    {
        push_built_with(&other, key, needed);
    }
    page.replace("http://127.0.0.1:11001", other.server.url());
    page.replace("app/all/aad5e6bbcf493340955f3c2965f083546e8301a53bbba4cb6a7066c8fd8f45a4", "app/all/1");
    let pond = Server::start_at(&page.place("pond"), &[]);
    page.replace("http://127.0.0.1:18332", pond.url());
    let _pond2 = Server::start_at(&page.place("pond2"), &[]);
    page.rest();
}

pub(super) fn retention(path: &'static str) {
    let mut page = Page::open(path);
    let rules = page.examples("toml").swap_remove(0);
    let mut pond = retention::Pond::start("guide", &rules);
    let looks_again = Instant::now() + LOOKS;
    page.is_at("/srv/millpond", &pond.server);
    pond.push(&["sdk/base/1", "sdk/base/weak"], 2_000_000, true).unwrap();
    pond.push(&["sdk/tools/1"], 800_000, true).unwrap();
    pond.push(&["app/main/failed"], 100_000, false).unwrap();
    pond.push(&["tools/lint/1"], 300_000, true).unwrap();
    for number in 0..5 {
        if number == 3 {
            // The server lets nothing fall by itself from here to the page's own pass.
            thread::sleep(looks_again.saturating_duration_since(Instant::now()));
        }
        pond.push(&[&format!("app/main/{number}")], 600_000, true).unwrap();
    }
    page.until("retention apply");
    page.until("retention plan");

    let mut pond = retention::Pond::start("guide", "[[retention]]\nproject = 'app'\nat_most = '2500KB'\n");
    page.is_at("/srv/millpond", &pond.server);
    pond.push(&["sdk/base/1"], 1_000_000, true).unwrap();
    for number in 0..4 {
        pond.push(&[&format!("app/main/{number}")], 1_000_000, true).unwrap();
    }
    assert!(pond.is_there("app/main/0"));
    page.until("names pin ");

    let released = names::Pond::new(&[]);
    page.is_at("/srv/millpond", &released.server);
    for key in ["sdk/base/1", "sdk/tools/2"] {
        push_built_with(&released, key, &[]);
    }
    for key in ["sdk/release/3", "sdk/release/4"] {
        push_built_with(&released, key, &["sdk/tools/2", "sdk/base/1"]);
    }
    page.until("'artifact:app/*'");

    let mut pond = retention::Pond::start("guide", "");
    page.is_at("/srv/millpond", &pond.server);
    // More than three quarters of the room, and less than what letting go begins at.
    for number in 0..3 {
        pond.push(&[&format!("app/main/{number}")], 3_800_000, true).unwrap();
    }
    page.until("names unpin");
    page.is_at("/srv/millpond", &released.server);
    page.rest();
}

pub(super) fn security(path: &'static str) {
    let page = Page::open(path);
    let examples = page.examples("toml");
    let gitlab = examples.iter().find(|example| example.contains("[[issuer]]")).unwrap();
    let github = gitlab
        .replace("\"gitlab\"", "\"github\"")
        .replace("gitlab.com", "token.actions.githubusercontent.com");
    configured(&page.place("millpond.toml"), &format!("{gitlab}{github}"));
    let _server = Server::start_at(&page.place("millpond-data"), &[]);
    page.rest();
}

pub(super) fn sizing(path: &'static str) {
    let page = Page::open(path);
    let _server = Server::start_at(&page.place("srv/millpond"), &[]);
    page.rest();
}

pub(super) fn start(path: &'static str) {
    if let Some(page) = Page::alone(path) {
        page.rest();
    }
}

pub(super) fn upgrading(path: &'static str) {
    let Some(mut page) = Page::alone(path) else { return };
    let configuration = page.here("[store]\ndata = '/srv/millpond'\nmax_size = '1GB'\n");
    for place in ["etc/millpond/millpond.toml", "millpond.toml"] {
        configured(&page.place(place), &configuration);
    }
    page.serve("--config millpond.toml");
    page.rest();
}
