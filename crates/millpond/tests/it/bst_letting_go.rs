//! Real clients and a store that holds a fraction of what they push: builds go on, what was pushed last can be pulled, and
//! what is offered of the rest is whole.

use std::fs;
use std::path::PathBuf;

use crate::admin::answer;
use crate::battery::{Random, seeded, setting};
use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;
use crate::tree;

/// Holds two artifacts of [`ARTIFACT_BYTES`].
const LIMIT: &str = "18MB";
const ARTIFACT_BYTES: u64 = 5_000_000;

#[test]
fn small_store_serves_what_was_pushed_last_and_no_halves_with_2_8_1() {
    small_store_serves_what_was_pushed_last_and_no_halves("2.8.1");
}

#[test]
fn small_store_serves_what_was_pushed_last_and_no_halves_with_1_6_9() {
    small_store_serves_what_was_pushed_last_and_no_halves("1.6.9");
}

/// An element of so many bytes of random files, and where they lie.
pub(crate) fn element(project: &Project, number: u64, bytes: u64, random: &mut Random) -> PathBuf {
    let folder = project.path().join(format!("files/{number}"));
    fs::create_dir_all(folder.join("usr/share")).unwrap();
    let mut left = bytes;
    for file in 0.. {
        let size = random.choose(&[20_000, 200_000, 700_000]).min(left);
        fs::write(folder.join(format!("usr/share/{file}")), random.bytes(size)).unwrap();
        left -= size;
        if left == 0 {
            break;
        }
    }
    let sources = format!("kind: import\nsources:\n- kind: local\n  path: files/{number}\n");
    project.element(&format!("e{number}"), &sources);
    folder
}

fn small_store_serves_what_was_pushed_last_and_no_halves(number: &'static str) {
    let Some(version) = Version::find(number) else { return };
    let mut random = seeded("small store");
    let server = Server::start_with(&["--max-size", LIMIT, "--lease", "1s"]);
    let project = Project::empty(version.generation(), "letting-go");
    let builder = Client::new(version, server.url(), Settings::pushing());
    let user = Client::new(version, server.url(), Settings::default());
    let (mut folders, mut whole, mut gone) = (Vec::new(), 0, 0);
    for number in 0..setting("MILLPOND_ELEMENTS", 8) {
        folders.push(element(&project, number, ARTIFACT_BYTES, &mut random));
        builder.succeed(&project, &["build", &format!("e{number}.bst")]);
        let older = random.between(0, number);
        for wanted in [number, older] {
            let name = format!("e{wanted}.bst");
            let said = user.spawn_pull(&project, &[&name]).wait().expect_success();
            if said.contains("does not have") {
                assert!(wanted != number, "{name} was pushed a moment ago:\n{said}\n{}", server.log());
                gone += 1;
                continue;
            }
            tree::assert_same(&folders[usize::try_from(wanted).unwrap()], &user.check_out(&project, &name));
            user.wipe();
            whole += 1;
        }
        builder.wipe();
    }
    eprintln!("{whole} pulls were whole, {gone} of artifacts that had gone");
    let status = answer(&server, "status --json");
    assert!(status["names_let_go"].as_u64().unwrap() > 0, "nothing was let go: {status}");
    assert!(status["let_go_lookups"].as_u64().unwrap() >= gone.min(1), "{gone} misses: {status}");
}
