//! Other users than the image's own, and directories that they may not write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use tempfile::TempDir;

use super::BARE;
use super::engine::{Container, Volume, docker, image};
use crate::server::skip;

const SOMEBODY: u32 = 12345;

/// Two directories of this machine, which this user owns.
pub(super) struct Folders {
    folder: TempDir,
}

impl Folders {
    pub(super) fn of(user: u32) -> Option<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["data", "keys"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            if chown(&path, Some(user), Some(user)).is_err() {
                skip("containers of other users: only root can give directories away");
                return None;
            }
        }
        Some(Self { folder })
    }

    pub(super) fn flags(&self) -> [String; 2] {
        ["data", "keys"].map(|name| format!("--volume={}:/{name}", self.folder.path().join(name).display()))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn run(image: &str, flags: &[&str]) -> Result<String, String> {
    docker(&[&["run", "--rm", "--env=MILLPOND_DOMAIN=localhost"], &BARE[..], flags, &[image]].concat())
}

#[test]
fn any_user_serves_from_directories_of_its_own() {
    let Some(image) = image() else { return };
    let Some(folders) = Folders::of(SOMEBODY) else { return };
    let [data, keys] = folders.flags();
    let user = format!("--user={SOMEBODY}:{SOMEBODY}");
    let flags = [&BARE[..], &["--env=MILLPOND_DOMAIN=localhost", &user, &data, &keys]].concat();
    let container = Container::start(&image, &flags, &[]);
    container.ready();
    // As an operator does it later.
    container.millpond(&["keys", "issue", "alice", "--push"]).unwrap();
    let listed = container.millpond(&["keys", "list"]).unwrap();
    assert!(listed.contains("alice") && listed.contains("pusher"), "{listed}");
    let mode = |path: &str| fs::metadata(folders.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys/ca.key"), mode("keys/clients/alice/client.key")), (0o600, 0o600));
    container.tell(&["stop", "--time=30"]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}

#[test]
fn directories_of_others_are_refused_with_whose_they_are_and_what_to_do() {
    let Some(image) = image() else { return };
    let (Some(mine), Some(theirs)) = (Folders::of(65532), Folders::of(0)) else { return };
    let ([my_data, my_keys], [their_data, their_keys]) = (mine.flags(), theirs.flags());
    let said = run(&image, &[&my_data, &their_keys]).unwrap_err();
    assert!(said.contains("/keys belongs to the user with the number 0, and this runs as 65532"), "{said}");
    assert!(said.contains("chown 65532"), "{said}");
    let said = run(&image, &[&their_data, &my_keys]).unwrap_err();
    assert!(said.contains("/data cannot be made or written"), "{said}");
    assert!(said.contains("number 65532"), "{said}");
    // New volumes belong to the image's user.
    let (data, keys) = (Volume::new(), Volume::new());
    let flags = [format!("--volume={}:/data", data.0), format!("--volume={}:/keys", keys.0)];
    let said = run(&image, &["--user=12345", &flags[0], &flags[1]]).unwrap_err();
    assert!(
        said.contains("/keys belongs to the user with the number 65532, and this runs as 12345"),
        "{said}"
    );
}

#[test]
fn volume_that_is_read_only_is_refused_in_words() {
    let Some(image) = image() else { return };
    let Some(folders) = Folders::of(65532) else { return };
    let [data, keys] = folders.flags();
    let said = run(&image, &[&format!("{data}:ro"), &keys]).unwrap_err();
    assert!(said.contains("/data cannot be made or written") && said.contains("ead-only"), "{said}");
    let said = run(&image, &[&data, &format!("--volume={}:/keys:ro", folders.path().join("data").display())]);
    let said = said.unwrap_err();
    assert!(said.contains("/keys") && said.contains("ead-only"), "{said}");
}
