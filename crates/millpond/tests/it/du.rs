//! What takes the room, as `millpond du` says it, compared with what was pushed; and what is kept, as `waterline` does.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use millpond_proto::buildstream::Artifact;
use millpond_proto::reapi::Directory;
use prost::Message;
use serde_json::Value;

use crate::admin::{answer, ask};
use crate::battery::{Blob, Name, Publish, Pushed, digest_of, seeded};
use crate::names::Pond;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The groups of an answer by what they are called; "" for those without.
fn groups(usage: &Value) -> HashMap<String, &Value> {
    let by = usage["by"].as_str().unwrap();
    let groups = usage["groups"].as_array().unwrap().iter();
    groups.map(|group| (group[by].as_str().unwrap_or_default().to_owned(), group)).collect()
}

/// Whether everything in use is accounted for, and each byte of blobs once.
fn assert_sums(pond: &Pond, usage: &Value) {
    let others = ["other_names", "pending_names", "removed_names", "more_groups"];
    let own: u64 =
        usage["groups"].as_array().unwrap().iter().map(|group| number(&group["unique_bytes"])).sum();
    let own = own + others.iter().map(|other| number(&usage[other]["unique_bytes"])).sum::<u64>();
    let blobs = number(&usage["in_use"]["blobs"]);
    assert_eq!(own + number(&usage["shared_bytes"]) + number(&usage["unreached_bytes"]), blobs, "{usage:#}");
    let status = answer(&pond.server, "status --json");
    assert_eq!((blobs, &usage["unread_names"]), (number(&status["live_bytes"]), &0.into()));
    // The catalog is measured every five seconds, and what an open pack's footer will take counts already.
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let usage = answer(&pond.server, "du --json");
        let status = answer(&pond.server, "status --json");
        let sum: u64 = usage["in_use"].as_object().unwrap().values().map(number).sum();
        let used = number(&status["used_bytes"]);
        if sum.abs_diff(used) < 300_000 && usage["in_use"]["ballast"] == status["ballast_bytes"] {
            break;
        }
        assert!(Instant::now() < end, "{sum} {used} {usage:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn every_byte_is_told_by_what_reaches_it() {
    let pond = Pond::new(&[]);
    let mut random = seeded("usage");
    let pushed: Vec<_> = (0..60).map(|number| Pushed::any(&mut random, 7 + number % 3)).collect();
    pushed.iter().for_each(|pushed| pond.push_whole(pushed));
    pond.push("lonely", &random.bytes(100_000));
    let orphan = Blob::new(random.bytes(200_000));
    pond.upload(&orphan);

    for by in ["project", "element", "kind", "instance", "age", "pushed"] {
        let usage = answer(&pond.server, &format!("du --json --by {by} --limit 0"));
        assert_sums(&pond, &usage);
        assert!(number(&usage["unreached_bytes"]) >= 200_000, "{by}: {usage:#}");
        let names: u64 =
            usage["groups"].as_array().unwrap().iter().map(|group| number(&group["names"])).sum();
        assert_eq!(names, number(&answer(&pond.server, "status --json")["names"]), "{by}");
    }
    // By the truth: what each project's names reach, a blob once in each.
    let usage = answer(&pond.server, "du --json");
    let mut truth: HashMap<String, HashMap<String, u64>> = HashMap::new();
    let mut names = HashSet::new();
    // Of a name that was pushed again the last value counts.
    for pushed in pushed.iter().rev() {
        for name in pushed.names() {
            let uri = match name {
                Name::Blob(uri) | Name::Directory(uri) => uri,
                Name::Action(_) => String::new(),
            };
            let short = uri.strip_prefix("urn:fdc:buildstream.build:2020:").unwrap_or_default();
            let key = short.strip_prefix("artifact:").or_else(|| short.strip_prefix("v1:"));
            let Some((project, _)) = key.and_then(|key| key.split_once('/')) else { continue };
            if !names.insert(uri.clone()) {
                continue;
            }
            let closure = pushed.value().closure.into_iter();
            let closure = closure
                .map(|digest| (digest.hash.as_str().to_owned(), u64::try_from(digest.size_bytes).unwrap()));
            truth.entry(project.to_owned()).or_default().extend(closure);
        }
    }
    assert!(!truth.is_empty());
    let found = groups(&usage);
    for (project, blobs) in &truth {
        // On the volume each has a header, and an end.
        let (bytes, contents) = (number(&found[project]["bytes"]), blobs.values().sum::<u64>());
        let most = contents + 256 * blobs.len() as u64;
        assert!((contents..=most).contains(&bytes), "{project}: {bytes} for {contents} in {}", blobs.len());
    }
    let one = &usage["groups"][0];
    let few = answer(&pond.server, "du --json --limit 1");
    assert_eq!((&few["groups"][0], few["groups"].as_array().unwrap().len()), (one, 1));
    assert!(number(&few["more_groups"]["groups"]) > 0, "{few:#}");
    assert_sums(&pond, &few);
    let (code, text, complaint) = ask(&pond.server, "du");
    assert_eq!((code, complaint.as_str()), (0, ""));
    for part in ["project\n", "of no name", "in use: ", "ballast "] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// An artifact of BuildStream 2 with these files, pushed by a name of this project.
fn artifact(project: &str, key: &str, files: &[&Blob]) -> Pushed {
    let nodes = files.iter().enumerate().map(|(place, file)| millpond_proto::reapi::FileNode {
        name: format!("file-{place}"),
        digest: Some(file.digest.clone()),
        ..Default::default()
    });
    let root = Blob::new(Directory { files: nodes.collect(), ..Default::default() }.encode_to_vec());
    let artifact = Artifact { version: 2, files: Some(root.digest.clone()), ..Default::default() };
    let message = Blob::new(artifact.encode_to_vec());
    let publish = Publish::Blob {
        uris: vec![format!("urn:fdc:buildstream.build:2020:artifact:{project}/hello/{key}")],
        references_blobs: Vec::new(),
        references_directories: Vec::new(),
    };
    let mut pushed = Pushed::new(publish, message.digest.clone());
    pushed.blobs.extend(files.iter().map(|file| (*file).clone()).chain([root, message]));
    pushed
}

#[test]
fn what_groups_share_is_told_from_what_is_their_own_and_filters_leave_it_so() {
    let pond = Pond::new(&[]);
    let mut random = seeded("shared and own");
    let [sdk, app, both] = [300_000, 200_000, 1_500_000].map(|bytes| Blob::new(random.bytes(bytes)));
    pond.push_whole(&artifact("sdk", "1", &[&sdk, &both]));
    // The same once more by another name of the group counts once.
    pond.push_whole(&artifact("sdk", "2", &[&both, &sdk]));
    pond.push_whole(&artifact("app", "1", &[&app, &both]));
    let usage = answer(&pond.server, "du --json");
    assert_sums(&pond, &usage);
    let found = groups(&usage);
    let near = |value: &Value, bytes: u64| {
        // Directories and messages, and what a record takes beside its content.
        let beside = number(value).checked_sub(bytes).unwrap_or_else(|| panic!("{value} {bytes}"));
        assert!(beside < 5000, "{value} {bytes}");
    };
    for (project, own, names) in [("sdk", 300_000, 2), ("app", 200_000, 1)] {
        near(&found[project]["unique_bytes"], own);
        near(&found[project]["shared_bytes"], 1_500_000);
        near(&found[project]["bytes"], own + 1_500_000);
        assert_eq!(found[project]["names"], names);
    }
    assert_eq!(usage["groups"][0]["project"], "sdk");
    near(&usage["shared_bytes"], 1_500_000);

    // What others reach is not its own, also where only one is asked for.
    let usage = answer(&pond.server, "du --json --by element --project sdk");
    assert_sums(&pond, &usage);
    let found = groups(&usage);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["sdk/hello"]);
    near(&found["sdk/hello"]["unique_bytes"], 300_000);
    near(&usage["other_names"]["unique_bytes"], 200_000);

    // Removed for a time: nobody's, and not yet garbage.
    pond.lines("names remove artifact:app/*");
    let usage = answer(&pond.server, "du --json");
    assert_sums(&pond, &usage);
    assert_eq!((&usage["removed_names"]["names"], groups(&usage).len()), (&1.into(), 1));
    near(&usage["removed_names"]["unique_bytes"], 200_000);
    pond.lines("names remove artifact:app/* --for-good");
    let usage = answer(&pond.server, "du --json");
    near(&usage["unreached_bytes"], 200_000);
    near(&groups(&usage)["sdk"]["unique_bytes"], 1_800_000);
    let (code, _, complaint) = ask(&pond.server, "du --by colour");
    assert!(code == 2 && complaint.contains("element"), "{complaint}");
}

#[test]
fn waterline_says_what_is_kept_and_reaches_back_less_by_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let configuration = folder.path().join("millpond.toml");
    std::fs::write(&configuration, "[[retention]]\nproject = \"sdk\"\nkeep = \"30d\"\n").unwrap();
    let pond = Pond::new(&["--max-size", "60MB", "--config", configuration.to_str().unwrap()]);
    let mut random = seeded("kept");
    let (kept, free) = (Blob::new(random.bytes(3_000_000)), Blob::new(random.bytes(1_000_000)));
    pond.push_whole(&artifact("sdk", "1", &[&kept]));
    pond.push_whole(&artifact("app", "1", &[&free]));
    let waterline = answer(&pond.server, "waterline --json");
    assert_eq!(waterline["kept_names"], 1);
    assert!(number(&waterline["kept_bytes"]).abs_diff(3_000_000) < 5000, "{waterline}");
    let (code, text, _) = ask(&pond.server, "waterline");
    assert!(code == 0 && text.contains("kept by rules and pins: 3.0 MB in 1 name"), "{text}");
    let usage = answer(&pond.server, "du --json");
    assert_eq!(groups(&usage)["sdk"]["kept_names"], 1);
    assert_eq!(groups(&usage)["app"]["kept_names"], 0);
}

#[test]
fn an_artifact_lists_what_it_has() {
    let pond = Pond::new(&[]);
    let file = Blob::new(b"content".to_vec());
    let pushed = artifact("sdk", "1", &[&file]);
    pond.push_whole(&pushed);
    let root = format!("{}/{}", pushed.root.hash.as_str(), pushed.root.size_bytes);
    let paths = |arguments: &str| -> Vec<String> {
        pond.lines(&format!("ls {arguments}"))
            .iter()
            .map(|line| line["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(paths(&root), ["files"]);
    assert_eq!(paths(&format!("{root} -R")), ["files", "files/file-0"]);
    let found = &pond.lines(&format!("ls {root}:/files/file-0"))[0];
    let digest = digest_of(&file.content);
    assert_eq!(found["digest"], format!("{}/{}", digest.hash.as_str(), digest.size_bytes));
}
