//! The server ends in the midst of pushes and pulls, and comes back: BuildStream 2 goes through that unharmed,
//! BuildStream 1 when its command is repeated, and the store is whole either way.

use std::thread;
use std::time::Duration;

use crate::bst::{Client, Running, Settings, Version};
use crate::project::Project;
use crate::server::Server;

/// How many elements the project has: enough for its push and its pull to be caught at work.
const ELEMENTS: usize = 100;
/// How long the server stays away. BuildStream 2 tries for about nine seconds.
const AWAY: Duration = Duration::from_secs(2);

/// How a server ends.
#[derive(Clone, Copy)]
enum End {
    Stopped,
    Killed,
}

/// Takes the server away while a command is at work, once it has done something so many times.
fn interrupt(server: &mut Server, command: &mut Running, end: End, text: &str, times: usize) {
    command.wait_for(text, times);
    assert!(command.is_running(), "the command had ended before the outage");
    match end {
        End::Stopped => drop(server.stop()),
        End::Killed => server.kill(),
    }
    thread::sleep(AWAY);
    server.start_again();
}

#[test]
fn kill_in_push_and_pull_with_2_8_1() {
    outage_in_push_and_pull("2.8.1", End::Killed);
}

#[test]
fn restart_in_push_and_pull_with_2_8_1() {
    outage_in_push_and_pull("2.8.1", End::Stopped);
}

fn outage_in_push_and_pull(number: &'static str, end: End) {
    let Some(version) = Version::find(number) else { return };
    let mut server = Server::start();
    let project = Project::new(version.generation(), "outage");
    project.many_elements(ELEMENTS);
    let builder = Client::new(version, server.url(), Settings::pushing());
    let mut command = builder.spawn(&project, &["build", "many.bst", "all.bst"]);
    interrupt(&mut server, &mut command, end, "Pushed artifact", 5);
    command.wait().expect_success();

    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    let mut command = user.spawn(&project, &["artifact", "pull", "--deps", "all", "many.bst", "all.bst"]);
    interrupt(&mut server, &mut command, end, "Pulled artifact", 5);
    let output = command.wait().expect_success();
    assert!(!output.contains("does not have"), "lost in the outages:\n{output}");
    project.assert_has_many(&user.check_out(&project, "many.bst"), ELEMENTS);
    project.assert_is(&user.check_out(&project, "all.bst"));
}

#[test]
fn commands_repeated_after_outages_with_1_6_9() {
    let Some(version) = Version::find("1.6.9") else { return };
    let mut server = Server::start();
    let project = Project::new(version.generation(), "outage");
    project.many_elements(ELEMENTS);
    let builder = Client::new(version, server.url(), Settings::pushing());
    let mut command = builder.spawn(&project, &["build", "many.bst"]);
    interrupt(&mut server, &mut command, End::Killed, "Pushed artifact", 20);
    // It may fail or not: what counts is that it can be repeated.
    drop(command.wait());
    builder.succeed(&project, &["build", "many.bst"]);
    builder.succeed(&project, &["push", "--deps", "all", "many.bst"]);

    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    let mut command = user.spawn(&project, &["pull", "--deps", "all", "many.bst"]);
    interrupt(&mut server, &mut command, End::Stopped, "Pulled artifact", 20);
    drop(command.wait());
    user.pull(&project, &["many.bst"]);
    project.assert_has_many(&user.check_out(&project, "many.bst"), ELEMENTS);
}
