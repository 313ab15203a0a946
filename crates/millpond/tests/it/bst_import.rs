//! What real clients pushed to other servers comes out of Millpond once it has taken over their directories.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::ask;
use crate::bst::{Client, Settings, Version, clients_folder};
use crate::project::Project;
use crate::server::Server;

/// Another server, for as long as the value lives.
pub(crate) struct Other {
    child: Child,
    pub(crate) url: String,
    data: tempfile::TempDir,
}

impl Other {
    pub(crate) fn start(command: impl FnOnce(&str, &Path) -> Command) -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = command(&address, data.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let other = Self { child, url: format!("http://{address}"), data };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < end, "the other server does not listen at {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
        other
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        self.data.path()
    }

    /// Ends it, and leaves its directory.
    pub(crate) fn stop(&mut self) -> &Path {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
        self.data.path()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn casd() -> PathBuf {
    let libraries = fs::read_dir(clients_folder().join("bst-2.8.1/lib")).unwrap();
    let part = "site-packages/buildstream/subprojects/buildbox/buildbox-casd";
    let found = libraries.map(|library| library.unwrap().path().join(part)).find(|program| program.exists());
    found.expect("buildbox-casd is a part of BuildStream 2.8.1")
}

/// What `import` says, and how it ends.
fn import(server: &Server, kind: &str, directory: &Path, flags: &str) -> (i32, Value) {
    let (code, printed, complaint) =
        ask(server, &format!("import {kind} {} --json{flags}", directory.to_str().unwrap()));
    (code, serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{complaint}")))
}

/// A file of a directory's objects that is larger than any message, and so a file of an artifact.
pub(crate) fn large_object(directory: &Path) -> PathBuf {
    let mut found = Vec::new();
    for folder in fs::read_dir(directory.join("cas/objects")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap();
            found.push((file.metadata().unwrap().len(), file.path()));
        }
    }
    found.into_iter().max().unwrap().1
}

fn take_over(number: &'static str, kind: &str, other: Other) {
    let Some(version) = Version::find(number) else { return };
    let mut other = other;
    let project = Project::new(version.generation(), "imported");
    let builder = Client::new(version, &other.url, Settings::pushing());
    builder.succeed(&project, &["build", "all.bst"]);
    let built = builder.check_out(&project, "all.bst");
    let directory = other.stop().to_owned();

    let server = Server::start();
    let (code, told) = import(&server, kind, &directory, " --dry-run");
    let names = told["names"].as_u64().unwrap();
    assert!(code == 0 && names >= 4 && told["bytes"].as_u64().unwrap() > 1_000_000, "{told}");
    let status = crate::admin::answer(&server, "status --json");
    assert_eq!((status["names"].as_u64(), status["blobs"].as_u64()), (Some(0), Some(0)), "{status}");

    // What is broken there is told and left out; all else comes.
    let large = large_object(&directory);
    let sound = fs::read(&large).unwrap();
    let mut flipped = sound.clone();
    flipped[1000] ^= 1;
    fs::remove_file(&large).unwrap();
    fs::write(&large, flipped).unwrap();
    let (code, some) = import(&server, kind, &directory, "");
    let broken = some["broken"].as_array().unwrap();
    assert!(code == 3 && !broken.is_empty(), "{some}");
    let whys = broken.iter().all(|broken| broken["why"].as_str().unwrap().contains("has other bytes there"));
    assert!(whys && some["names"].as_u64().unwrap() + broken.len() as u64 == names, "{some}");

    // And the rest once it is whole.
    fs::write(&large, sound).unwrap();
    let (code, rest) = import(&server, kind, &directory, "");
    assert_eq!((code, rest["names"].as_u64()), (0, Some(broken.len() as u64)), "{rest}");
    assert_eq!(rest["present"], some["names"], "{rest}");
    let (code, text, _) = ask(&server, &format!("import {kind} {}", directory.to_str().unwrap()));
    assert!(code == 0 && text.contains(&format!("here already: {names}\n")), "{text}");

    project.take_sources_away();
    let user = Client::new(version, server.url(), Settings::default());
    user.pull(&project, &["all.bst"]);
    crate::tree::assert_same(&built, &user.check_out(&project, "all.bst"));
    assert_eq!(ask(&server, "fsck").0, 0);
}

#[test]
fn what_1_6_9_pushed_to_its_own_server_is_pulled_after_the_import() {
    if Version::find("1.6.9").is_none() {
        return;
    }
    let server = clients_folder().join("bst-1.6.9/bin/bst-artifact-server");
    let other = Other::start(|address, data| {
        let mut command = Command::new(server);
        command.args(["--enable-push", "--port", address.rsplit(':').next().unwrap()]).arg(data);
        command
    });
    take_over("1.6.9", "bst1", other);
}

#[test]
fn what_2_8_1_pushed_to_casd_is_pulled_after_the_import() {
    if Version::find("2.8.1").is_none() {
        return;
    }
    let other = Other::start(|address, data| {
        let mut command = Command::new(casd());
        command.arg(format!("--bind={address}")).arg(data);
        command
    });
    take_over("2.8.1", "casd", other);
}

#[test]
fn import_of_what_is_no_such_directory_says_so() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for kind in ["bst1", "casd"] {
        let (code, _, complaint) =
            ask(&server, &format!("import {kind} {}", folder.path().to_str().unwrap()));
        assert!(code == 1 && complaint.contains(" lacks cas/objects and "), "{code} {complaint}");
    }
}
