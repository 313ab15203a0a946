//! Volumes that are not new, and such that have no room left.

use std::process::Command;

use super::engine::{Container, Volume, docker, image};
use super::users::Folders;
use super::{BARE, Pond};
use crate::bst::Version;
use crate::project::Project;
use crate::upgrade;

/// Less than the element `large` needs.
const SMALL: &str = "size=64m,uid=65532,gid=65532,mode=700";

#[test]
fn volume_of_the_first_format_is_raised_and_whole() {
    let Some(image) = image() else { return };
    let Some(folders) = Folders::of(65532) else { return };
    // It lies in the directory that the image's user owns.
    let place = upgrade::volume(&folders.path().join("data"));
    assert!(Command::new("chown").args(["-R", "65532"]).arg(&place).status().unwrap().success());
    let [data, keys] = folders.flags();
    let there = "--env=MILLPOND__STORE__DATA=/data/data";
    let more = ["--env=MILLPOND_DOMAIN=localhost", "--tmpfs=/tmp", there, &data, &keys];
    let flags = [&BARE[..], &more].concat();
    let container = Container::start(&image, &flags, &[]);
    container.ready();
    assert!(container.log().contains("the catalog was raised from format 2 to "), "{}", container.log());
    let listed = container.millpond(&["names", "list", "--json"]).unwrap();
    assert!(listed.lines().count() >= 3 && listed.contains(upgrade::NAME), "{listed}");
    // Where copies of the catalog lie can be written after a restart, too.
    container.millpond(&["backup", "/data/backup"]).unwrap();
    container.tell(&["restart", "--time=30"]);
    container.ready();
    let checked = container.millpond(&["fsck", "--data", "/data/backup"]).unwrap();
    assert!(checked.contains("0 bad records, 0 names not whole"), "{checked}");
    container.tell(&["stop", "--time=30"]);
    let checked =
        docker(&[&["run", "--rm", "--tmpfs=/tmp"], &BARE[..], &[there, &data, &image, "fsck"]].concat())
            .unwrap();
    assert!(checked.contains("0 bad records, 0 names not whole, 0 other damages"), "{checked}");
}

#[test]
fn builds_go_on_when_the_volume_is_full_and_nothing_is_offered_in_part_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let Some(pond) = Pond::start_on(|| Volume::with(&["type=tmpfs", "device=tmpfs", &format!("o={SMALL}")]))
    else {
        return;
    };
    let project = Project::new(version.generation(), "full");
    project.import("bulk", "bulk", "/bulk");
    let builder = pond.client(version, true);
    for element in ["assorted.bst", "large.bst", "bulk.bst", "all.bst"] {
        builder.succeed(&project, &["build", element]);
    }
    project.take_sources_away();
    let user = pond.client(version, false);
    user.pull(&project, &["assorted.bst"]);
    user.pull_in_vain(&project, "large.bst");
    pond.container().wait_for("{{.State.Health.Status}}", "healthy");
}
