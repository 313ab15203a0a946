//! A volume as the first release left it, and the program of today: it is refused where it is to stay what it is, and else
//! opened, with all that is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millpond_proto::asset::FetchDirectoryRequest;
use millpond_proto::reapi::Directory;
use prost::Message;
use tokio::runtime::Runtime;

use crate::admin::ask;
use crate::battery::{Client, digest_of};
use crate::server::Server;

/// A name that it has, of BuildStream 1.
pub(crate) const NAME: &str = "urn:fdc:buildstream.build:2020:v1:project/element/key";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// It, copied into that folder.
pub(crate) fn volume(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../cache/src/tests/volumes/format-1"), &data);
    data
}

#[test]
fn volume_of_the_first_format_is_refused_untouched_or_opened_for_good_as_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = volume(folder.path());
    // SQLite's own header has the format, big-endian.
    let format = || fs::read(data.join("catalog.db")).unwrap()[60..64].to_vec();
    assert_eq!(format(), [0, 0, 0, 2]);
    let refused = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["serve", "--no-upgrade", "--listen", "127.0.0.1:0", "--metrics", "off", "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("has a catalog of format 2") && complaint.contains("millpond backup"),
        "{complaint}"
    );
    assert_eq!(format(), [0, 0, 0, 2], "it was raised");

    let mut server = Server::start_at(&data, &[]);
    server.wait_for("the catalog was raised from format 2 to ", 1);
    everything_is_there(&server);
    server.stop();
    server.start_again_with(&["--no-upgrade"]);
    everything_is_there(&server);
    assert_eq!(server.log().matches("the catalog was raised").count(), 1);
}

/// The tree of a name, its files read and hashed; and the names, as an operator sees them.
fn everything_is_there(server: &Server) {
    Runtime::new().unwrap().block_on(async {
        let mut client = Client::connect(server.url()).await.unwrap();
        let request = FetchDirectoryRequest { uris: vec![NAME.into()], ..Default::default() };
        let root = client.fetch.fetch_directory(request).await.unwrap().into_inner().root_directory_digest;
        let messages = client.tree(&root.unwrap()).await.unwrap();
        let directories: Vec<_> =
            messages.into_iter().map(|message| Directory::decode(message).unwrap()).collect();
        let mut files = 0;
        for file in directories.iter().flat_map(|directory| &directory.files) {
            let digest = file.digest.as_ref().unwrap();
            assert_eq!(&digest_of(&client.read(digest).await.unwrap()), digest);
            files += 1;
        }
        assert!(directories.len() == 2 && files == 3, "{} directories, {files} files", directories.len());
    });
    let (code, listed, complaint) = ask(server, "names list --json");
    assert!(code == 0 && listed.lines().count() >= 3, "{code} {listed} {complaint}");
}
