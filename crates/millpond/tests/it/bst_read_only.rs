//! Real clients and `serve --read-only`: pulls are served, and whoever is set to push builds as without a cache and reads
//! that he should not.

use crate::bst::{Client, Generation, Settings, Version};
use crate::project::Project;
use crate::server::Server;
use crate::tree;

#[test]
fn read_only_server_serves_pulls_and_takes_no_push_from_2_8_1() {
    pulled_and_not_pushed("2.8.1", &["PERMISSION_DENIED", "serves pulls only", "`push: true`"]);
}

/// 1.6.9 has words of its own for it.
#[test]
fn read_only_server_serves_pulls_and_takes_no_push_from_1_6_9() {
    pulled_and_not_pushed("1.6.9", &["does not allow push"]);
}

fn pulled_and_not_pushed(number: &'static str, told: &[&str]) {
    let Some(version) = Version::find(number) else { return };
    let mut server = Server::start();
    let project = Project::new(version.generation(), "read-only");
    let builder = Client::new(version, server.url(), Settings::pushing());
    builder.succeed(&project, &["build", "small.bst"]);
    server.stop();
    server.start_again_with(&["--read-only"]);

    // These clients ask whether they may push before anything else, and leave the remote out if not. The build goes on.
    let pusher = Client::new(version, server.url(), Settings::pushing());
    let build = pusher.succeed(&project, &["build", "assorted.bst"]);
    let push: &[&str] = match version.generation() {
        Generation::One => &["push", "assorted.bst"],
        Generation::Two => &["artifact", "push", "assorted.bst"],
    };
    let push = pusher.run(&project, push).expect_failure();
    for said in [build, push] {
        assert!(told.iter().all(|part| said.contains(part)), "{said}");
    }
    // Once it no longer pushes, the same client pulls; and there is nothing of what it had built.
    pusher.configure(server.url(), Settings::default());
    pusher.wipe();
    pusher.pull_in_vain(&project, "assorted.bst");
    project.take_sources_away();
    pusher.pull(&project, &["small.bst"]);
    tree::assert_same(&project.tree("small"), &pusher.check_out(&project, "small.bst").join("small"));
}
