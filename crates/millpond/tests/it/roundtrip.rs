//! What every generation is put through alike.

use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;
use crate::tree;

/// Sixty thousand small files in one element: built and pushed, forgotten, pulled and checked out.
pub(crate) fn sixty_thousand_files(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let server = Server::start();
    let project = Project::new(version.generation(), "tiny");
    project.import("tiny", "tiny", "/");
    let client = Client::new(version, server.url(), Settings::pushing());
    client.succeed(&project, &["build", "tiny.bst"]);

    client.wipe();
    project.take_sources_away();
    client.pull(&project, &["tiny.bst"]);
    tree::assert_same(&project.tree("tiny"), &client.check_out(&project, "tiny.bst"));
}
