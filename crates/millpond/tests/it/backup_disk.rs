//! Backups onto a small disk that becomes full, and what real clients pull from a volume that was restored.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::admin::ask;
use crate::battery::seeded;
use crate::bst::{Client, Settings, Version};
use crate::loop_disk::SmallDisk;
use crate::names::Pond;
use crate::project::Project;
use crate::server::{Server, skip};

fn back_up(server: &Server, directory: &Path, flags: &str) -> (i32, String, String) {
    ask(server, &format!("backup {}{flags}", directory.to_str().unwrap()))
}

fn names(directory: &Path) -> Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_millpond"));
    let output = command.args(["fsck", "--json", "--data"]).arg(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["names"].clone()
}

#[test]
fn full_target_is_told_before_anything_is_copied_and_leaves_the_earlier_backup_whole() {
    let disk = match SmallDisk::new(40 << 20) {
        Ok(disk) => disk,
        Err(reason) => return skip(&format!("a backup to a disk that is full: {reason}")),
    };
    let (mut random, pond) = (seeded("full target"), Pond::new(&["--max-size", "200MB"]));
    for number in 0..5 {
        pond.push(&format!("a:{number}"), &random.bytes(2_000_000));
    }
    // The root of a file system has a lost+found.
    let place = disk.place();
    assert_eq!(back_up(&pond.server, place, "").0, 0);
    assert_eq!(names(place), 5);
    for number in 0..30 {
        pond.push(&format!("b:{number}"), &random.bytes(2_000_000));
    }
    for (directory, flags) in [(place, ""), (place, " --dry-run"), (&place.join("new"), " --dry-run")] {
        let (code, _, complaint) = back_up(&pond.server, directory, flags);
        assert!(code == 1 && complaint.contains("bytes more are to be copied"), "{flags}: {complaint}");
    }
    assert_eq!(names(place), 5);
    // Others fill it while it is copied: what there was room for stays, and the next one goes on from there.
    pond.lines("names remove b:* --for-good");
    let others = place.join("others");
    fs::write(&others, vec![7; 16 << 20]).unwrap();
    let (code, _, complaint) = back_up(&pond.server, place, "");
    assert!(code == 1, "{complaint}");
    assert_eq!(names(place), 5);
    fs::remove_file(&others).unwrap();
    disk.make_read_only();
    for (directory, flags) in [(place, ""), (place, " --dry-run"), (&place.join("new"), " --dry-run")] {
        let (code, _, complaint) = back_up(&pond.server, directory, flags);
        assert!(code == 1 && complaint.contains("cannot be written"), "{flags}: {complaint}");
    }
}

#[test]
fn bst_pull_from_a_restored_volume_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let mut server = Server::start();
    let project = Project::new(version.generation(), "restored");
    let client = Client::new(version, server.url(), Settings::pushing());
    client.succeed(&project, &["build", "all.bst"]);
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [backup, data] = ["backup", "data"].map(|name| place.path().join(name));
    assert_eq!(back_up(&server, &backup, "").0, 0);
    server.kill();

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_millpond"));
    assert!(command.arg("restore").arg(&backup).arg("--data").arg(&data).status().unwrap().success());
    let restored = Server::start_at(&data, &[]);
    let user = Client::new(version, restored.url(), Settings::default());
    project.take_sources_away();
    user.pull(&project, &["all.bst"]);
    project.assert_is(&user.check_out(&project, "all.bst"));
}
