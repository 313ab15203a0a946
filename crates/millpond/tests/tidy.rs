//! Checks of the whole source tree that neither the compiler nor clippy makes: sizes, module comments, which crate may
//! name which, what must not be left behind, links that lead nowhere.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// No file of code is longer, in lines.
const FILE_LINES_MAX: usize = 600;
/// Nine in ten files of code are no longer, in lines.
const NINE_IN_TEN_MAX: usize = 350;

/// Each crate with the crates of ours that it may name.
const CRATES: [(&str, &[&str]); 7] = [
    ("proto", &[]),
    ("bench", &["millpond-proto"]),
    ("store", &[]),
    ("cache", &["millpond-proto", "millpond-store"]),
    ("identity", &["millpond-cache"]),
    ("server", &["millpond-proto", "millpond-cache", "millpond-identity"]),
    (
        "millpond",
        &["millpond-bench", "millpond-cache", "millpond-identity", "millpond-proto", "millpond-server"],
    ),
];

/// Libraries that a crate must not reach past its floor for.
const WALLS: [(&str, &[&str]); 4] = [
    ("store", &["axum", "http", "prost", "tonic", "toml"]),
    ("cache", &["axum", "http", "rusqlite", "socket2", "tonic", "toml"]),
    ("identity", &["axum", "http", "prost", "rustls", "socket2", "tokio", "tonic", "toml"]),
    ("server", &["rusqlite", "millpond-store"]),
];

/// Calls that have few places, each with the files below `crates` that may make them. Tests may make them too.
const PLACES: [(&str, &[&str]); 6] = [
    // What reaches the volume goes through the disk, so that tests can fail it, and the order is seen in one place.
    ("fs::rename(", &["store/src/disk/"]),
    ("fs::remove_file(", &["store/src/disk/", "millpond/src/admin_socket.rs", "server/src/acme/kept.rs"]),
    // A failed sync poisons the store, so whoever asks for one must know what follows.
    (".sync_all()", &["store/src/disk/", "identity/src/files.rs"]),
    (".sync_data()", &["store/src/disk/"]),
    // Errors become words in one file, where no name of a file and no cause of an internal error gets through.
    (" Status::", &["server/src/status.rs"]),
    ("(Status::", &["server/src/status.rs"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file of the project below `folder`, without what is built, hidden (but `.ci` and `.config`) or served.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let hidden = name.starts_with('.') && name != ".ci" && name != ".config";
        if hidden || name == "target" || name == "millpond-data" || name == "millpond-keys" {
            continue;
        }
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Files with the ending, as path below the root and text.
fn texts(wanted: impl Fn(&Path) -> bool) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| wanted(path))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            Some((path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text))
        })
        .collect()
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

fn code() -> Vec<(String, String)> {
    let code = texts(|path| has_ending(path, "rs"));
    assert!(code.len() > 20, "the source tree was not found");
    code
}

/// Tests that lie in a file of their own belong to the module beside it.
fn is_test_of_a_module(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

/// Names what is wrong, all of it at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn files_of_code_fit_a_reader() {
    let mut lengths: Vec<_> = code().into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    lengths.sort();
    let long = lengths.iter().filter(|(lines, _)| *lines > FILE_LINES_MAX);
    none(long.map(|(lines, path)| format!("{path}: {lines} lines, at most {FILE_LINES_MAX}")).collect());
    let (lines, path) = &lengths[lengths.len() * 9 / 10];
    assert!(
        *lines <= NINE_IN_TEN_MAX,
        "one file in ten is longer than {NINE_IN_TEN_MAX} lines, from {path} on"
    );
}

#[test]
fn every_module_says_its_job() {
    // Tests that lie in a file of their own belong to the module beside it.
    let belongs =
        |path: &str| path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/");
    let silent = code().into_iter().filter(|(path, text)| !belongs(path) && !text.starts_with("//!"));
    none(silent.map(|(path, _)| format!("{path}: does not begin with a module comment (//!)")).collect());
}

#[test]
fn crates_name_only_the_floors_below() {
    let mut complaints = Vec::new();
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let named = dependencies(&manifest);
        let ours = named.iter().filter(|dependency| dependency.starts_with("millpond-"));
        complaints.extend(
            ours.filter(|dependency| !allowed.contains(&dependency.as_str()))
                .map(|dependency| format!("crates/{name} names {dependency}")),
        );
        let walls = WALLS.iter().filter(|(walled, _)| *walled == name).flat_map(|(_, refused)| *refused);
        complaints.extend(
            walls
                .filter(|refused| named.iter().any(|dependency| dependency == *refused))
                .map(|refused| format!("crates/{name} names {refused}")),
        );
        if !manifest.contains("[lints]\nworkspace = true") {
            complaints.push(format!("crates/{name} does not take the lints of the workspace"));
        }
    }
    none(complaints);
}

/// What a manifest depends on when it is built, not only tested.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn blobs_and_catalog_do_not_know_each_other() {
    let pairs = [("crates/store/src/blobs", "catalog::"), ("crates/store/src/catalog", "blobs::")];
    let mut complaints = Vec::new();
    for (path, text) in code() {
        for (half, other) in pairs {
            if path.starts_with(half) && text.contains(&format!("crate::{other}")) {
                complaints.push(format!("{path}: names {other}"));
            }
        }
    }
    none(complaints);
}

#[test]
fn what_has_one_place_is_called_there() {
    let mut complaints = Vec::new();
    for (path, text) in code() {
        let Some(below) = path.strip_prefix("crates/").filter(|path| path.contains("/src/")) else {
            continue;
        };
        if is_test_of_a_module(below) {
            continue;
        }
        let program = text.split("#[cfg(test)]\nmod").next().unwrap();
        for (call, places) in PLACES {
            let calls =
                program.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(call));
            if calls && !places.iter().any(|place| below.starts_with(place)) {
                complaints.push(format!("{path}: calls {call}…), which has its place in {places:?}"));
            }
        }
    }
    none(complaints);
}

#[test]
fn nothing_is_left_behind() {
    // Put together here, so that this file does not hold them.
    let markers = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["dbg", "!("],
        ["#[ign", "ore"],
    ]
    .map(|parts| parts.concat());
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| ["rs", "md", "toml", "proto", "sql"].iter().any(|e| has_ending(path, e)))
    {
        for (number, line) in text.lines().enumerate() {
            if let Some(marker) = markers.iter().find(|marker| line.contains(*marker)) {
                complaints.push(format!("{path}:{}: {marker}", number + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let folders = [["/ro", "ot/"], ["/wo", "rk/"], ["/hom", "e/"]].map(|parts| parts.concat());
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| !has_ending(path, "lock")) {
        for (number, line) in text.lines().enumerate() {
            if folders.iter().any(|folder| line.contains(folder)) {
                complaints.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    none(complaints);
}

/// What a heading is called behind a `#`, as code browsers and mdBook have it.
fn anchors(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !in_block) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            found.push(heading.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| has_ending(path, "md")) {
        let page = root().join(&path);
        let folder = page.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { folder.join(file) };
            let leads = file.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&file).unwrap()).contains(&anchor.to_owned()));
            if !leads {
                complaints.push(format!("{path}: {target} is not there"));
            }
            // The book has the pages of `docs` alone.
            if path.starts_with("docs/") && target.starts_with("..") {
                complaints.push(format!("{path}: {target} is no page of the guide"));
            }
        }
    }
    none(complaints);
}

#[test]
fn every_page_of_the_guide_is_in_its_summary() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let pages =
        texts(|path| has_ending(path, "md") && path.parent().is_some_and(|parent| parent.ends_with("docs")));
    assert!(pages.len() > 20, "the guide was not found");
    let names = pages.iter().filter_map(|(path, _)| path.strip_prefix("docs/"));
    let left_out = names.filter(|name| *name != "SUMMARY.md" && !summary.contains(&format!("]({name})")));
    none(left_out.map(|name| format!("docs/SUMMARY.md leaves {name} out")).collect());
}

#[test]
fn files_named_in_documents_are_there() {
    let folders = ["crates/", "docs/", "deploy/", "scripts/", "fuzz/", ".ci/", ".config/"];
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| has_ending(path, "md")) {
        for word in text.split(|c: char| c.is_whitespace() || "`()[],;:*#\"'".contains(c)) {
            let named = word.trim_start_matches("./").trim_end_matches('.');
            let is_path =
                folders.iter().any(|folder| named.starts_with(folder) && named.len() > folder.len());
            // What stands for something is none.
            if is_path && !named.contains(['<', '{', '$', '…']) && !root().join(named).exists() {
                complaints.push(format!("{path}: {named} is not there"));
            }
        }
    }
    none(complaints);
}

/// What a page quotes of the server's words, to be found in the code as they stand there.
#[test]
fn words_of_the_server_in_troubleshooting_are_its_own() {
    // Inside of sentences: what was pasted of clients is theirs.
    const QUOTED: [&str; 11] = [
        "what came is not TLS",
        "expired on",
        "is not known here",
        "the access token is empty",
        "is for the audience",
        "an upload was refused",
        "not whole",
        "the disk has not answered",
        "too small for its load",
        "bytes that this cache takes in one blob",
        "hint:",
    ];
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let page_in_a_line = page.split_whitespace().collect::<Vec<_>>().join(" ");
    // Text that a line of code ends within goes on in the next one.
    let whole = |text: &str| {
        let mut pieces = text.split("\\\n");
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |joined, piece| joined + piece.trim_start())
    };
    let ours = code().into_iter().filter(|(path, _)| path.contains("/src/") && !is_test_of_a_module(path));
    let ours: String = ours.map(|(_, text)| whole(&text)).collect();
    let mut complaints = Vec::new();
    for words in QUOTED {
        if !page_in_a_line.contains(words) {
            complaints.push(format!("docs/troubleshooting.md does not say {words:?} any more"));
        }
        if !ours.contains(words) {
            complaints.push(format!("docs/troubleshooting.md: the server does not say {words:?}"));
        }
    }
    // What came from the server as a status, in what clients print: what is wrong, and what to do behind the last colon.
    let statuses = ["PERMISSION_DENIED: ", "UNAUTHENTICATED: ", "INVALID_ARGUMENT: ", "PushBlob: 7: "];
    let mut count = 0;
    for line in page.lines().filter(|line| statuses.iter().any(|status| line.contains(status))) {
        let advice = line.rsplit(": ").next().unwrap_or_default();
        count += 1;
        if !ours.contains(advice) {
            complaints.push(format!("docs/troubleshooting.md: the server does not say {advice:?}"));
        }
    }
    assert!(count >= 5, "the page has {count} answers of the server");
    none(complaints);
}
