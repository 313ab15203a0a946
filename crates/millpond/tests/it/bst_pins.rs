//! A release of a real client that is pinned with what it was built with, on a store that holds a fraction of what is pushed.

use serde_json::Value;

use crate::admin::{answer, ask};
use crate::battery::seeded;
use crate::bst::{Client, Settings, Version};
use crate::bst_letting_go::element;
use crate::project::Project;
use crate::server::Server;
use crate::tree;

/// Holds seven elements of [`ELEMENT_BYTES`].
const LIMIT: &str = "18MB";
const ELEMENT_BYTES: u64 = 2_000_000;

#[test]
fn pinned_release_is_pulled_whole_after_everything_else_went_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let mut random = seeded("pinned release");
    let mut server = Server::start_with(&["--max-size", LIMIT, "--lease", "1s"]);
    let project = Project::empty(version.generation(), "released");
    let builder = Client::new(version, server.url(), Settings::pushing());
    let folders: Vec<_> =
        (0..2).map(|number| element(&project, number, ELEMENT_BYTES, &mut random)).collect();
    project.stack("parts", &["e0", "e1"]);
    project.stack("release", &["parts"]);
    builder.succeed(&project, &["build", "release.bst"]);

    // The pattern fits the release alone; the rest it names itself.
    let (code, text, complaint) =
        ask(&server, "names pin artifact:released/release/* --reason 1.0 --for 2y --with-dependencies");
    assert_eq!(code, 0, "{text}{complaint}");
    println!("{text}");
    let pins: Vec<Value> = lines(&server, "names pins --json");
    let of = |element: &str| {
        let of = format!("artifact:released/{element}/");
        pins.iter().filter(|pin| pin["pattern"].as_str().unwrap().starts_with(&of)).count()
    };
    assert_eq!(["release", "parts", "e0", "e1"].map(of), [1; 4], "{pins:?}");

    for number in 2..10 {
        if number == 5 {
            server.kill();
            server.start_again_with(&["--max-size", LIMIT, "--lease", "1s"]);
            builder.configure(server.url(), Settings::pushing());
        }
        element(&project, number, ELEMENT_BYTES, &mut random);
        builder.succeed(&project, &["build", &format!("e{number}.bst")]);
    }
    let status = answer(&server, "status --json");
    assert!(status["names_let_go"].as_u64().unwrap() > 2, "{status}");
    let user = Client::new(version, server.url(), Settings::default());
    user.pull_in_vain(&project, "e2.bst");
    user.pull(&project, &["release.bst"]);
    for (folder, element) in folders.iter().zip(["e0.bst", "e1.bst"]) {
        tree::assert_same(folder, &user.check_out(&project, element));
    }
}

#[test]
fn sources_are_pinned_where_an_artifact_says_which_they_are_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let mut random = seeded("pinned sources");
    let server = Server::start();
    let project = Project::empty(version.generation(), "sourced");
    let settings = Settings { push: true, source_cache: true, ..Settings::default() };
    let always = Settings { cache_buildtrees: Some("always"), ..settings };
    for (number, settings) in [(0, always), (1, settings)] {
        element(&project, number, 100_000, &mut random);
        let builder = Client::new(version, server.url(), settings);
        builder.succeed(&project, &["build", &format!("e{number}.bst")]);
    }
    let pin = |element: &str| {
        let (code, text, _) = ask(
            &server,
            &format!("names pin artifact:sourced/{element}/* --reason 1.0 --with-sources --json"),
        );
        let answer: Value = serde_json::from_str(&text).unwrap();
        println!("{answer:#}");
        (code, answer)
    };
    let (code, answer) = pin("e0");
    let names = answer["names"].as_array().unwrap();
    assert!(names.iter().any(|name| name.as_str().unwrap().starts_with("source:")), "{answer}");
    assert_eq!((code, &answer["missing_count"]), (0, &0.into()), "{answer}");
    let (code, answer) = pin("e1");
    assert_eq!((code, &answer["missing_count"]), (3, &1.into()), "{answer}");
}

fn lines(server: &Server, arguments: &str) -> Vec<Value> {
    let (code, printed, complaint) = ask(server, arguments);
    assert_eq!((code, complaint.as_str()), (0, ""), "{arguments}");
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
