//! A full store: builds that push more than fits go on and end well, what was there before can be pulled, and nothing
//! is offered that is not whole.

use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;
use crate::tree;

/// Less than the element `large` needs, whose files go up one by one, and less than `bulk`, whose go up in batches.
const LIMIT: &str = "64MB";

#[test]
fn builds_go_on_when_the_store_is_full_with_2_8_1() {
    builds_go_on_when_the_store_is_full("2.8.1");
}

#[test]
fn builds_go_on_when_the_store_is_full_with_2_0_1() {
    builds_go_on_when_the_store_is_full("2.0.1");
}

#[test]
fn builds_go_on_when_the_store_is_full_with_1_6_9() {
    builds_go_on_when_the_store_is_full("1.6.9");
}

#[test]
fn builds_go_on_when_the_store_is_full_with_1_4_3() {
    builds_go_on_when_the_store_is_full("1.4.3");
}

fn builds_go_on_when_the_store_is_full(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let server = Server::start_with(&["--max-size", LIMIT]);
    let project = Project::new(version.generation(), "full");
    project.import("bulk", "bulk", "/bulk");
    let builder = Client::new(version, server.url(), Settings::pushing());
    builder.succeed(&project, &["build", "assorted.bst"]);
    let expected = builder.check_out(&project, "assorted.bst");

    for element in ["large.bst", "bulk.bst", "all.bst"] {
        builder.succeed(&project, &["build", element]);
    }

    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    user.pull(&project, &["assorted.bst"]);
    tree::assert_same(&expected, &user.check_out(&project, "assorted.bst"));
    for element in ["large.bst", "bulk.bst"] {
        user.pull_in_vain(&project, element);
    }
}
