//! BuildStream 2 elements that are really built, in a sandbox: build trees, failed builds, and pulls by weak key.

use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;

/// An element `made.bst` that leaves something in its build tree.
fn project_with_builds(version: Version, name: &str) -> Project {
    let project = Project::new(version.generation(), name);
    project.sandbox_root();
    project.manual(
        "made",
        &["small"],
        &["echo left-behind > left.txt"],
        &["mkdir -p %{install-root}/made", "cp /small/small.txt %{install-root}/made/copied.txt"],
    );
    project.manual(
        "broken",
        &["small"],
        &["echo said-before-failing", "echo half-done > left.txt", "exit 1"],
        &["echo never"],
    );
    project
}

#[test]
fn build_trees_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let server = Server::start();
    let project = project_with_builds(version, "trees");
    let always = Settings { cache_buildtrees: Some("always"), ..Settings::pushing() };
    let builder = Client::new(version, server.url(), always);
    builder.succeed(&project, &["build", "made.bst"]);

    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings { pull_buildtrees: true, ..Settings::default() });
    user.pull(&project, &["made.bst"]);
    assert_build_tree(&user, &project, "made.bst", "left-behind");
    let checkout = user.check_out(&project, "made.bst");
    assert_eq!(std::fs::read(checkout.join("made/copied.txt")).unwrap(), b"a small file\n");
}

/// Looks into the build tree of an element that was pulled with it.
fn assert_build_tree(user: &Client, project: &Project, element: &str, content: &str) {
    let output =
        user.succeed(project, &["shell", "--build", "--use-buildtree", element, "--", "cat", "left.txt"]);
    assert!(output.lines().any(|line| line == content), "not in the build tree:\n{output}");
}

#[test]
fn failed_builds_with_2_8_1() {
    failed_builds("2.8.1");
}

#[test]
fn failed_builds_with_2_6_0() {
    failed_builds("2.6.0");
}

#[test]
fn failed_builds_with_2_0_1() {
    failed_builds("2.0.1");
}

/// A failed build is an artifact too: pushed, pulled, and shown to the next user instead of being tried again.
fn failed_builds(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let server = Server::start();
    for (cached, name) in [("auto", "failed-auto"), ("always", "failed-always")] {
        let project = project_with_builds(version, name);
        let settings = Settings { cache_buildtrees: Some(cached), ..Settings::pushing() };
        let builder = Client::new(version, server.url(), settings);
        builder
            .run(&project, &["--on-error", "continue", "build", "broken.bst", "made.bst"])
            .expect_failure();

        project.take_sources_away();
        let user = Client::new(version, server.url(), Settings::default());
        user.pull(&project, &["broken.bst", "made.bst"]);
        assert_eq!(user.show(&project, "broken.bst", "state"), "failed");
        assert_eq!(user.show(&project, "made.bst", "state"), "cached");
        let log = user.succeed(&project, &["artifact", "log", "broken.bst"]);
        assert!(log.contains("said-before-failing"), "not the log of the build:\n{log}");

        let curious =
            Client::new(version, server.url(), Settings { pull_buildtrees: true, ..Settings::default() });
        curious.pull(&project, &["broken.bst"]);
        assert_build_tree(&curious, &project, "broken.bst", "half-done");
    }
}

#[test]
fn pull_by_weak_key_with_2_8_1() {
    pull_by_weak_key("2.8.1");
}

#[test]
fn pull_by_weak_key_with_2_0_1() {
    pull_by_weak_key("2.0.1");
}

/// In non-strict mode an element is taken though what it was built with has changed since.
fn pull_by_weak_key(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let server = Server::start();
    let project = project_with_builds(version, "weak");
    let builder = Client::new(version, server.url(), Settings::pushing());
    builder.succeed(&project, &["build", "made.bst"]);

    // Another dependency by the same name, so another strong key of `made`.
    project.import("small", "assorted", "/small");
    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    user.pull_in_vain(&project, "made.bst");
    let output = user.succeed(&project, &["--no-strict", "artifact", "pull", "made.bst"]);
    assert!(output.contains("Pulled artifact"), "not pulled by its weak key:\n{output}");
    let checkout = user.check_out_loosely(&project, "made.bst");
    assert_eq!(std::fs::read(checkout.join("made/copied.txt")).unwrap(), b"a small file\n");
}
