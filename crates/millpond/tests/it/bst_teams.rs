//! Several teams at once on one server, of both generations: the same artifacts and different ones.

use crate::bst::{Client, Generation, Settings, Version};
use crate::project::Project;
use crate::server::Server;

/// How many elements the large project has.
const ELEMENTS: usize = 200;

#[test]
fn pushes_of_the_same_and_of_different_artifacts_at_once() {
    let (Some(new), Some(old)) = (Version::find("2.8.1"), Version::find("1.6.9")) else { return };
    let server = Server::start();
    let teams = [
        (new, Project::new(Generation::Two, "shared")),
        (new, Project::new(Generation::Two, "shared")),
        (old, Project::new(Generation::One, "shared")),
        (old, Project::new(Generation::One, "shared")),
        (new, Project::new(Generation::Two, "different")),
    ];
    let clients =
        teams.each_ref().map(|(version, _)| Client::new(*version, server.url(), Settings::pushing()));
    let running: Vec<_> = clients
        .iter()
        .zip(&teams)
        .map(|(client, (_, project))| client.spawn(project, &["build", "all.bst"]))
        .collect();
    for command in running {
        command.wait().expect_success();
    }
    for (version, project) in &teams[1..4] {
        project.take_sources_away();
        let user = Client::new(*version, server.url(), Settings::default());
        user.pull(project, &["all.bst"]);
        // BuildStream 1 makes absolute links relative, so there only the large files are those of the original.
        if version.generation() == Generation::Two {
            project.assert_is(&user.check_out(project, "all.bst"));
        } else {
            project.assert_has("large", &user.check_out(project, "all.bst"));
        }
    }
}

#[test]
fn pull_of_hundreds_of_elements_while_another_team_pushes() {
    let (Some(new), Some(old)) = (Version::find("2.8.1"), Version::find("1.6.9")) else { return };
    let server = Server::start();
    for (version, other) in [(new, old), (old, new)] {
        let project = Project::new(version.generation(), "hundreds");
        project.many_elements(ELEMENTS);
        let builder = Client::new(version, server.url(), Settings::pushing());
        builder.succeed(&project, &["build", "many.bst"]);

        project.take_sources_away();
        let pushed = Project::new(other.generation(), "meanwhile");
        let pusher = Client::new(other, server.url(), Settings::pushing());
        let pushing = pusher.spawn(&pushed, &["build", "all.bst"]);
        let user = Client::new(version, server.url(), Settings::default());
        user.pull(&project, &["many.bst"]);
        pushing.wait().expect_success();
        project.assert_has_many(&user.check_out(&project, "many.bst"), ELEMENTS);
    }
}
