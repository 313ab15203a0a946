//! BuildStream 1: what is pushed comes back.

use crate::bst::{Client, Settings, Version};
use crate::project::{IMPORTS, Project};
use crate::server::Server;
use crate::tree;

#[test]
fn push_wipe_pull_and_checkout_with_1_6_9() {
    push_wipe_pull_and_checkout("1.6.9");
}

#[test]
fn push_wipe_pull_and_checkout_with_1_2_8() {
    push_wipe_pull_and_checkout("1.2.8");
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
    let checkout = client.check_out(&project, "all.bst");
    for name in IMPORTS {
        tree::assert_same(&project.tree(name), &checkout.join(name));
    }
}
