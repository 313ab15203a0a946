//! BuildStream 2, from the oldest version that installs to the newest: what is pushed comes back.

use crate::bst::{Client, Generation, Settings, Version};
use crate::project::{IMPORTS, Project};
use crate::server::Server;
use crate::{roundtrip, tree};

#[test]
fn push_wipe_pull_and_checkout_with_2_8_1() {
    push_wipe_pull_and_checkout("2.8.1");
}

#[test]
fn push_wipe_pull_and_checkout_with_2_0_1() {
    push_wipe_pull_and_checkout("2.0.1");
}

fn push_wipe_pull_and_checkout(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let server = Server::start();
    let project = Project::new(version.generation(), "pushed");
    let client = Client::new(version, server.url(), Settings::pushing());
    client.succeed(&project, &["build", "all.bst"]);

    client.wipe();
    project.take_sources_away();
    client.pull(&project, &["all.bst"]);
    project.assert_is(&client.check_out(&project, "all.bst"));
}

#[test]
fn push_and_pull_of_sixty_thousand_files_with_2_8_1() {
    roundtrip::sixty_thousand_files("2.8.1");
}

#[test]
fn instances_are_apart_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let server = Server::start_with(&["--instance", "main"]);
    let project = Project::new(version.generation(), "instances");
    let main = Settings { instance: Some("main"), ..Settings::default() };
    let builder = Client::new(version, server.url(), Settings { push: true, ..main });
    builder.succeed(&project, &["build", "small.bst"]);

    project.take_sources_away();
    Client::new(version, server.url(), Settings::default()).pull_in_vain(&project, "small.bst");
    let user = Client::new(version, server.url(), main);
    user.pull(&project, &["small.bst"]);
    tree::assert_same(&project.tree("small"), &user.check_out(&project, "small.bst").join("small"));
}

/// Names on one server and blobs on another, each of which refuses what belongs on the other.
#[test]
fn names_and_blobs_on_two_servers_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let index = Server::start_with(&["--instance", ":index-only"]);
    let storage = Server::start_with(&["--instance", ":storage-only"]);
    let project = Project::new(version.generation(), "split");
    let client = Client::new(version, index.url(), Settings::pushing());
    client.configure_split(index.url(), storage.url());
    client.succeed(&project, &["build", "all.bst"]);

    client.wipe();
    project.take_sources_away();
    client.pull(&project, &["all.bst"]);
    project.assert_is(&client.check_out(&project, "all.bst"));
    // And not from one of them alone.
    let user = Client::new(version, storage.url(), Settings::default());
    user.pull_in_vain(&project, "small.bst");
}

#[test]
fn artifacts_by_name_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let server = Server::start();
    let project = Project::new(version.generation(), "named");
    let builder = Client::new(version, server.url(), Settings::default());
    builder.succeed(&project, &["build", "all.bst"]);
    let name = builder.artifact(&project, "assorted");
    let user = Client::new(version, server.url(), Settings::default());
    let shown = user.succeed(&project, &["artifact", "show", "assorted.bst"]);
    assert!(shown.contains("not cached"), "nothing was pushed yet:\n{shown}");

    builder.configure(server.url(), Settings::pushing());
    builder.push(&project, &["all.bst"]);

    project.take_sources_away();
    let shown = user.succeed(&project, &["artifact", "show", "assorted.bst"]);
    assert!(shown.contains("available"), "pushed, and not available:\n{shown}");
    // In a project that has nothing but its name.
    let stranger = Project::empty(version.generation(), "named");
    user.succeed(&stranger, &["artifact", "pull", &name]);
    let contents = user.succeed(&stranger, &["artifact", "list-contents", &name]);
    assert!(contents.contains("assorted/usr/bin/program"), "not in the list:\n{contents}");
    let log = user.succeed(&stranger, &["artifact", "log", &name]);
    assert!(log.contains("Build"), "not a log:\n{log}");
    let checkout = user.check_out(&stranger, &name);
    tree::assert_same(&project.tree("assorted"), &checkout.join("assorted"));
}

#[test]
fn push_and_pull_of_sources_with_2_8_1() {
    push_and_pull_of_sources("2.8.1");
}

#[test]
fn push_and_pull_of_sources_with_2_0_1() {
    push_and_pull_of_sources("2.0.1");
}

fn push_and_pull_of_sources(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let server = Server::start();
    let project = Project::new(version.generation(), "sources");
    let caching = Settings { source_cache: true, ..Settings::default() };
    let builder = Client::new(version, server.url(), Settings { push: true, ..caching });
    // One pushed by a build, after its artifact, and the others by hand.
    builder.succeed(&project, &["build", "small.bst"]);
    builder.succeed(&project, &["source", "push", "--deps", "all", "all.bst"]);

    let elements = IMPORTS.map(|name| format!("{name}.bst"));
    let expected = elements.each_ref().map(|element| builder.check_out_sources(&project, element));

    project.take_sources_away();
    let user = Client::new(version, server.url(), caching);
    user.succeed(&project, &["source", "fetch", "--deps", "all", "all.bst"]);
    for (element, expected) in elements.iter().zip(expected) {
        tree::assert_same(&expected, &user.check_out_sources(&project, element));
    }
    // And what was never pushed as an artifact is built from them.
    user.succeed(&project, &["build", "assorted.bst"]);
}

#[test]
fn pull_of_what_the_other_version_pushed() {
    let (Some(old), Some(new)) = (Version::find("2.0.1"), Version::find("2.8.1")) else { return };
    let server = Server::start();
    for (name, pusher, puller) in [("forwards", old, new), ("backwards", new, old)] {
        let project = Project::new(Generation::Two, name);
        let builder = Client::new(pusher, server.url(), Settings::pushing());
        builder.succeed(&project, &["build", "assorted.bst"]);
        project.take_sources_away();
        let user = Client::new(puller, server.url(), Settings::default());
        user.pull(&project, &["assorted.bst"]);
        let checkout = user.check_out(&project, "assorted.bst");
        tree::assert_same(&project.tree("assorted"), &checkout.join("assorted"));
    }
}
