//! BuildStream 1, over Remote Asset (1.6) and over references (1.2, 1.4, and 1.6 where there is nothing else): what
//! is pushed comes back.

use crate::bst::{Client, Generation, Settings, Version};
use crate::project::Project;
use crate::server::Server;
use crate::without_assets::WithoutAssets;
use crate::{roundtrip, tree};

#[test]
fn push_wipe_pull_and_checkout_with_1_6_9_over_assets() {
    push_wipe_pull_and_checkout("1.6.9", Server::start().url());
}

#[test]
fn push_wipe_pull_and_checkout_with_1_6_9_over_references() {
    let server = Server::start();
    let front = WithoutAssets::before(server.url());
    push_wipe_pull_and_checkout("1.6.9", front.url());
    assert!(front.refusals() > 0, "1.6.9 never asked for an asset, so the test shows nothing");
}

#[test]
fn push_wipe_pull_and_checkout_with_1_4_3() {
    push_wipe_pull_and_checkout("1.4.3", Server::start().url());
}

#[test]
fn push_wipe_pull_and_checkout_with_1_2_8() {
    push_wipe_pull_and_checkout("1.2.8", Server::start().url());
}

fn push_wipe_pull_and_checkout(number: &'static str, url: &str) {
    let Some(version) = Version::find(number) else { return };
    let project = Project::new(version.generation(), "pushed");
    let client = Client::new(version, url, Settings::pushing());
    client.succeed(&project, &["build", "all.bst"]);
    let output = client.push(&project, &["all.bst"]);
    assert!(!output.contains("Pushed artifact"), "the build had not pushed all:\n{output}");
    let built = client.check_out(&project, "all.bst");

    client.wipe();
    project.take_sources_away();
    client.pull(&project, &["all.bst"]);
    let pulled = client.check_out(&project, "all.bst");
    tree::assert_same(&built, &pulled);
    // Not `assorted`: BuildStream 1 makes absolute links relative when it imports a tree.
    project.assert_has("large", &pulled);
}

#[test]
fn push_by_hand_with_1_6_9() {
    let Some(version) = Version::find("1.6.9") else { return };
    let server = Server::start();
    let project = Project::new(version.generation(), "by-hand");
    let builder = Client::new(version, server.url(), Settings::default());
    builder.succeed(&project, &["build", "small.bst"]);
    let user = Client::new(version, server.url(), Settings::default());
    user.pull_in_vain(&project, "small.bst");

    builder.succeed(&project, &["push", "--remote", server.url(), "small.bst"]);
    project.take_sources_away();
    user.pull(&project, &["small.bst"]);
    tree::assert_same(&project.tree("small"), &user.check_out(&project, "small.bst").join("small"));
}

#[test]
fn push_and_pull_of_sixty_thousand_files_with_1_6_9() {
    roundtrip::sixty_thousand_files("1.6.9");
}

#[test]
fn pull_with_1_4_3_of_what_1_6_9_pushed_and_the_reverse() {
    let (Some(old), Some(new)) = (Version::find("1.4.3"), Version::find("1.6.9")) else { return };
    let server = Server::start();
    for (name, pusher, puller) in [("forwards", old, new), ("backwards", new, old)] {
        let project = Project::new(Generation::One, name);
        let builder = Client::new(pusher, server.url(), Settings::pushing());
        builder.succeed(&project, &["build", "all.bst"]);
        project.take_sources_away();
        let user = Client::new(puller, server.url(), Settings::default());
        user.pull(&project, &["all.bst"]);
        let checkout = user.check_out(&project, "all.bst");
        tree::assert_same(&builder.check_out(&project, "all.bst"), &checkout);
    }
}

#[test]
fn pull_by_weak_key_with_1_6_9() {
    let Some(version) = Version::find("1.6.9") else { return };
    let server = Server::start();
    let project = Project::new(version.generation(), "weak");
    project.sandbox_root();
    let copy = ["mkdir -p %{install-root}/made", "cp /small/small.txt %{install-root}/made/copied.txt"];
    project.manual("made", &["small"], &["echo building"], &copy);
    let builder = Client::new(version, server.url(), Settings::pushing());
    builder.succeed(&project, &["build", "made.bst"]);

    // Another dependency by the same name, so another strong key of `made`.
    project.import("small", "assorted", "/small");
    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    user.pull_in_vain(&project, "made.bst");
    user.succeed(&project, &["--no-strict", "pull", "made.bst"]);
    let checkout = user.check_out_loosely(&project, "made.bst");
    assert_eq!(std::fs::read(checkout.join("made/copied.txt")).unwrap(), b"a small file\n");
}
