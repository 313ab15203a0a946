//! What BuildStream has pushed is compressed once it is cold, and pulled as it was; by a server that does not compress, too.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::admin;
use crate::bst::{Client, Settings, Version};
use crate::project::Project;
use crate::server::Server;
use crate::tree;

const ELEMENT: &str = "text.bst";
/// Packs of a few MiB, so that large blobs have packs of their own.
const SIZE: &str = "500MB";

/// Text, which gets a fraction of its length: small files, and one of several frames.
fn write_text(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let text = |number: usize, lines: usize| {
        let mut text = String::new();
        (0..lines).for_each(|line| writeln!(text, "line {line} of file {number}: all is well here").unwrap());
        text
    };
    for number in 0..200 {
        fs::write(folder.join(format!("file-{number}")), text(number, 100)).unwrap();
    }
    fs::write(folder.join("large"), text(1000, 150_000)).unwrap();
}

fn pack_bytes(data: &Path) -> u64 {
    let folders = fs::read_dir(data.join("packs")).unwrap();
    let packs = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    // One may be gone by now.
    packs.filter_map(|pack| Some(pack.ok()?.metadata().ok()?.len())).sum()
}

#[test]
fn what_is_cold_takes_less_room_and_is_pulled_as_it_was_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let mut server = Server::start_with(&["--max-size", SIZE]);
    let project = Project::empty(version.generation(), "cold");
    let folder = project.path().join("files/text");
    write_text(&folder);
    project.element("text", "kind: import\nsources:\n- kind: local\n  path: files/text\n");
    let client = Client::new(version, server.url(), Settings::pushing());
    client.succeed(&project, &["build", ELEMENT]);
    // Its packs are sealed.
    server.stop();
    let before = pack_bytes(server.data());
    assert!(before > 5_000_000, "{before}");

    // What was there before is compressed as well, from the moment that it is asked for.
    let configuration = project.path().join("millpond.toml");
    let set = |compression| fs::write(&configuration, format!("[store]\n{compression}")).unwrap();
    set("compression = \"off\"");
    server.start_again_with(&["--max-size", SIZE, "--config", configuration.to_str().unwrap()]);
    set("compression = \"cold\"\ncompress_after = \"0s\"");
    let (code, told, complaint) = admin::ask(&server, "config reload");
    assert!(code == 0 && told.contains("compression in [store]"), "{told} {complaint}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while pack_bytes(server.data()) > before / 3 {
        assert!(Instant::now() < deadline, "{} of {before}", pack_bytes(server.data()));
        thread::sleep(Duration::from_millis(50));
    }
    let pull = |server: &Server| {
        client.wipe();
        client.configure(server.url(), Settings::default());
        client.pull(&project, &[ELEMENT]);
        tree::assert_same(&folder, &client.check_out(&project, ELEMENT));
    };
    pull(&server);
    server.kill();
    server.start_again_with(&["--max-size", SIZE]);
    pull(&server);
    assert_eq!(server.stop().code(), Some(0));
    assert!(pack_bytes(server.data()) < before / 3, "what is compressed stays so");
}
