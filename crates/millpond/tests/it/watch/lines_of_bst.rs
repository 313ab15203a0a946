//! What the log says of a build of BuildStream 2: a line for each name that it looks up, and each that it pushes.

use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;

use super::lines::{count, count_at_last, lines};

#[test]
fn each_push_and_pull_of_a_name_has_a_line_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let server = Server::start_with_the_log_of_services(&[]);
    let project = Project::new(version.generation(), "logged");
    project.import("one", "tiny", "/");
    let client = Client::new(version, server.url(), Settings { source_cache: true, ..Settings::pushing() });
    client.succeed(&project, &["build", "one.bst"]);
    let artifact = client.artifact(&project, "one");
    let of_artifact = |message: &str, result: &str| {
        let name = format!("urn:fdc:buildstream.build:2020:artifact:{artifact}");
        count_at_last(&server, &[("message", message), ("result", result), ("name", &name)])
    };
    assert!(of_artifact("pull", "miss") >= 1, "{}", server.log());
    assert_eq!(of_artifact("push", "whole"), 1, "{}", server.log());
    assert_eq!(count(&server, &[("message", "pull"), ("result", "hit")]), 0, "{}", server.log());
    client.wipe();
    client.pull(&project, &["one.bst"]);
    assert_eq!(of_artifact("pull", "hit"), 1, "{}", server.log());
    let pushed = lines(&server);
    let source =
        |line: &&serde_json::Value| line["name"].as_str().is_some_and(|name| name.contains(":source:"));
    let source = pushed.iter().filter(|line| line["message"] == "push").find(source).expect("a source");
    assert!(
        source["bytes"].as_u64().unwrap() > 0 && source["milliseconds"].as_f64().unwrap() > 0.0,
        "{source}"
    );
    assert_eq!((&source["address"], &source["level"]), (&"127.0.0.1".into(), &"INFO".into()));
    // What buildbox-casd, through which it goes, says of itself.
    assert!(pushed.iter().any(|line| line["tool"].is_string()), "{}", server.log());
}
