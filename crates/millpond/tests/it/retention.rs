//! Rules of retention: what they keep stays whole while others go, its space comes back when they are gone, and what they
//! end goes in its time.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use millpond_proto::asset::PushBlobRequest;
use millpond_proto::buildstream::{Artifact, artifact};
use prost::Message;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Status;

use crate::admin::{answer, ask};
use crate::battery::{Blob, Client, Name, Random, seeded};
use crate::server::Server;

/// How long something that is bound to happen may take until the test is given up.
const PATIENCE: Duration = Duration::from_secs(120);

fn uri(key: &str) -> String {
    format!("urn:fdc:buildstream.build:2020:artifact:{key}")
}

/// A server with this file of configuration, on a small volume.
pub(crate) struct Pond {
    pub(crate) server: Server,
    file: PathBuf,
    _folder: TempDir,
    runtime: Runtime,
    random: Random,
}

impl Pond {
    pub(crate) fn start(test: &str, rules: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("pond.toml");
        fs::write(&file, rules).unwrap();
        let server = Server::start_with(&Self::arguments(&file));
        Self { server, file, _folder: folder, runtime: Runtime::new().unwrap(), random: seeded(test) }
    }

    fn arguments(file: &std::path::Path) -> [&str; 6] {
        ["--config", file.to_str().unwrap(), "--max-size", "18MB", "--lease", "0s"]
    }

    pub(crate) fn start_again_with(&mut self, rules: &str) {
        fs::write(&self.file, rules).unwrap();
        self.server.stop();
        self.server.start_again_with(&Self::arguments(&self.file));
    }

    fn client(&self) -> Client {
        self.runtime.block_on(Client::connect(self.server.url())).unwrap()
    }

    /// Pushes an artifact whose logs take so many bytes, under all these keys.
    pub(crate) fn push(
        &mut self,
        keys: &[&str],
        bytes: usize,
        build_success: bool,
    ) -> Result<Vec<Blob>, Status> {
        let mut client = self.client();
        let mut blobs: Vec<Blob> =
            (0..bytes / 100_000).map(|_| Blob::new(self.random.bytes(100_000))).collect();
        let log = |blob: &Blob| artifact::LogFile { name: "log".into(), digest: Some(blob.digest.clone()) };
        let message = Artifact {
            version: 2,
            build_success,
            strong_key: keys[0].into(),
            logs: blobs.iter().map(log).collect(),
            ..Default::default()
        };
        blobs.push(Blob::new(message.encode_to_vec()));
        self.runtime.block_on(async {
            for some in blobs.chunks(10) {
                client.update(some).await?;
            }
            let request = PushBlobRequest {
                uris: keys.iter().map(|key| uri(key)).collect(),
                blob_digest: blobs.last().map(|blob| blob.digest.clone()),
                ..Default::default()
            };
            client.push.push_blob(request).await.map(drop)
        })?;
        // What goes together with one second would go with another artifact.
        thread::sleep(Duration::from_millis(1100));
        Ok(blobs)
    }

    pub(crate) fn is_there(&self, key: &str) -> bool {
        let mut client = self.client();
        self.runtime.block_on(client.look_up(&Name::Blob(uri(key)))).unwrap().is_some()
    }

    pub(crate) fn missing(&self, blobs: &[Blob]) -> usize {
        let mut client = self.client();
        let digests = blobs.iter().map(|blob| blob.digest.clone()).collect();
        self.runtime.block_on(client.missing(digests)).unwrap().len()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        answer(&self.server, "status --json")["live_bytes"].as_u64().unwrap()
    }
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn kept_project_stays_whole_and_its_space_comes_back_when_the_rule_is_gone() {
    let mut pond = Pond::start("kept project", "[[retention]]\nproject = \"sdk\"\nkeep = \"forever\"\n");
    let kept = pond.push(&["sdk/base/strong", "sdk/base/weak"], 4_000_000, true).unwrap();
    let others = |numbers: std::ops::Range<u32>| numbers.map(|number| format!("app/main/{number}"));
    for key in others(0..6) {
        pond.push(&[&key], 2_500_000, true).unwrap();
    }
    assert!(!pond.is_there("app/main/0"), "others went");
    // Pulled whole, though nobody asked for it since it was pushed: the blobs first, or the look-up would raise them.
    assert_eq!(pond.missing(&kept), 0);
    assert!(pond.is_there("sdk/base/strong") && pond.is_there("sdk/base/weak"));
    let plan = answer(&pond.server, "retention plan --json");
    let keeps = &plan["rules"][0]["keeps"];
    assert_eq!(keeps["names"], 2);
    let bytes: usize = kept.iter().map(|blob| blob.content.len()).sum();
    assert_eq!((&keeps["bytes"], &plan["kept"]["bytes"]), (&bytes.into(), &bytes.into()));
    assert!(plan["unmatched"]["names"].as_u64() > Some(0) && plan["paused"] == false);
    let (_, text, _) = ask(&pond.server, "retention plan");
    assert!(text.starts_with("rule 1: project = \"sdk\", keep = \"forever\"\n  keeps 2 names of "), "{text}");

    // Until others that were used later than what is kept have gone: by its last use alone it would have gone too.
    for key in others(6..10) {
        pond.push(&[&key], 2_500_000, true).unwrap();
    }
    assert!(!pond.is_there("app/main/6"));
    let there: Vec<String> = others(7..10).filter(|key| pond.is_there(key)).collect();
    assert!(there.len() >= 2, "{there:?}");
    assert_eq!(pond.missing(&kept), 0);
    let before = pond.live_bytes();
    pond.start_again_with("");
    until("the space of what is kept no longer comes back", || {
        answer(&pond.server, "retention apply --json");
        pond.live_bytes() + 3_900_000 < before
    });
    assert_eq!(pond.missing(&kept), kept.len());
    for key in &there {
        assert!(pond.is_there(key), "{key} paid for it");
    }
}

#[test]
fn failed_build_goes_in_its_time_and_the_newest_artifacts_stay() {
    let rules = "[[retention]]\nkind = \"artifact\"\noutcome = \"failure\"\nlet_go_after = \"3s\"\n\
                 [[retention]]\nproject = \"app\"\nkeep_newest = 2\n";
    let mut pond = Pond::start("failed build", rules);
    pond.push(&["app/main/failed"], 100_000, false).unwrap();
    for number in 0..4 {
        pond.push(&[&format!("app/main/{number}"), &format!("app/main/weak-{number}")], 100_000, true)
            .unwrap();
    }
    until("the failed build stays", || !pond.is_there("app/main/failed"));
    assert!((0..4).all(|number| pond.is_there(&format!("app/main/{number}"))));
    let plan = answer(&pond.server, "retention plan --json");
    let newest = &plan["rules"][1];
    assert_eq!((&newest["keeps"]["names"], &newest["leaves"]["names"]), (&4.into(), &4.into()));
    assert_eq!(plan["unmatched"]["names"], 0);
    // Before the plan was made all were kept, since each was the newest when it came.
    // Of what was used in the second before a pass that is not known to it.
    until("what is not among the newest stays kept", || {
        let applied = answer(&pond.server, "retention apply --json");
        assert_eq!(applied["names"], 8);
        applied["kept_names"] == 4
    });
}

#[test]
fn what_takes_more_than_its_share_goes_by_its_last_use_and_nothing_else_does() {
    let mut pond = Pond::start("share", "[[retention]]\nproject = \"app\"\nat_most = \"2500KB\"\n");
    pond.push(&["sdk/base/1"], 1_000_000, true).unwrap();
    for number in 0..4 {
        pond.push(&[&format!("app/main/{number}")], 1_000_000, true).unwrap();
    }
    // With a lease of 0s each look-up is a use.
    assert!(pond.is_there("app/main/0"));
    let (_, plan, _) = ask(&pond.server, "retention plan");
    println!("{plan}");
    assert!(plan.starts_with("rule 1: project = \"app\", at_most = \"2500KB\"\n"), "{plan}");
    assert!(plan.contains("  lets go of 2 names of 2.0 MB\n  leaves 2 names of 2.0 MB"), "{plan}");
    assert!(plan.contains("would go now:\n  artifact:app/main/1\n  artifact:app/main/2\n"), "{plan}");
    let applied = answer(&pond.server, "retention apply --json");
    assert_eq!(applied["ended_names"], 2);
    for (key, stays) in [
        ("sdk/base/1", true),
        ("app/main/0", true),
        ("app/main/1", false),
        ("app/main/2", false),
        ("app/main/3", true),
    ] {
        assert_eq!(pond.is_there(key), stays, "{key}");
    }
}

#[test]
fn store_full_of_what_is_kept_refuses_and_says_what_keeps_it() {
    let mut pond = Pond::start("full of kept", "[[retention]]\nkind = \"artifact\"\nkeep = \"2 years\"\n");
    let mut pushed = Vec::new();
    let refused = (0..30).find_map(|number| {
        let key = format!("app/main/{number}");
        match pond.push(&[&key], 2_000_000, true) {
            // With a lease of 0s blobs may go before their name comes, which is no promise then.
            Ok(blobs) => pushed.extend(pond.is_there(&key).then_some(blobs)),
            Err(refused) => return Some(refused),
        }
        None
    });
    let refused = refused.expect("an upload is refused");
    let said = refused.message();
    assert!(said.contains("are kept by rule 1 (kind = \"artifact\", keep = \"730d\")"), "{said}");
    assert!(pushed.len() > 3 && pushed.iter().all(|blobs| pond.missing(blobs) == 0));
}

/// The rules of the document, over what a team may have pushed. What it prints is what the document shows.
#[test]
fn rules_of_the_document_do_what_it_says() {
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/retention.md")).unwrap();
    let (_, rest) = document.split_once("```toml\n").unwrap();
    let (rules, _) = rest.split_once("```\n").unwrap();
    let mut pond = Pond::start("document", rules);
    pond.push(&["sdk/components-base/3f2a", "sdk/components-base/weak"], 2_000_000, true).unwrap();
    pond.push(&["sdk/components-tools/9c11"], 800_000, true).unwrap();
    pond.push(&["app/main/failed"], 100_000, false).unwrap();
    for number in 0..5 {
        pond.push(&[&format!("app/main/{number}")], 600_000, true).unwrap();
    }
    pond.push(&["tools/lint/1"], 300_000, true).unwrap();
    let (code, plan, _) = ask(&pond.server, "retention plan");
    println!("{plan}");
    let says = |rule: usize, words: &str| {
        let (_, of_rule) = plan.split_once(&format!("rule {rule}: ")).unwrap();
        let of_rule = of_rule.split("\nrule ").next().unwrap();
        assert!(of_rule.contains(words), "rule {rule}, {words}: {plan}");
    };
    assert_eq!(code, 0);
    says(1, "project = \"sdk\", keep = \"730d\"\n  keeps 3 names of 2.8");
    says(2, "leaves 1 name of 100");
    says(3, "project = \"app\", keep_newest = 3\n  keeps 3 names of 1.8");
    says(3, "leaves 2 names of 1.2");
    assert!(plan.contains("\nno rule: 1 name of 300"), "{plan}");
    let rooms =
        ["retention plan", "waterline"].map(|command| answer(&pond.server, &format!("{command} --json")));
    let [planned, told] = rooms.map(|answer| answer["room_bytes"].as_u64().unwrap());
    // What is not blobs grows a little by and by.
    assert!(
        planned.abs_diff(told) < 500_000 && plan.contains("at which letting go begins"),
        "{planned} {told}"
    );
    let (code, applied, _) = ask(&pond.server, "retention apply");
    println!("{applied}");
    assert!(code == 0 && applied.starts_with("names: 10, of which 6 are kept\n"), "{applied}");
}
