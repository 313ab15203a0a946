//! `millpond doctor`: on a server that is well, and on each thing that is not.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::issued::Keys;
use crate::server::{Server, skip};

/// Checks that measure the machine that tests run on, which may be a busy one.
const OF_THE_MACHINE: [&str; 3] = ["disk", "processor", "memory"];

/// What the doctor says, with which code, for these arguments.
fn doctor(arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    said_by(command.arg("doctor").args(arguments).arg("--json"))
}

fn said_by(command: &mut Command) -> (i32, Value) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(stdout).unwrap();
    let json = serde_json::from_str(&printed);
    (status.code().unwrap(), json.unwrap_or_else(|_| panic!("{printed}{}", String::from_utf8_lossy(&stderr))))
}

/// The findings of a check with this verdict: what each says, and what to do.
fn found(said: &Value, check: &str, verdict: &str) -> Vec<String> {
    let all = said["checks"].as_array().unwrap().iter();
    let wanted = all.filter(|finding| finding["check"] == check && finding["verdict"] == verdict);
    wanted.map(|finding| format!("{} / {}", finding["says"], finding["do"])).collect()
}

fn bad(said: &Value) -> Vec<String> {
    let all = said["checks"].as_array().unwrap().iter();
    let bad =
        all.filter(|finding| finding["verdict"] == "bad").map(|finding| finding["check"].as_str().unwrap());
    bad.filter(|check| !OF_THE_MACHINE.contains(check)).map(str::to_owned).collect()
}

/// What is in a folder, with names and sizes.
fn listed(folder: &Path) -> Vec<(String, u64)> {
    let entry =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len());
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|found| entry(found.unwrap())).collect();
    all.sort();
    all
}

/// Arguments that keep the ports of this machine out of it.
fn alone(data: &Path) -> Vec<String> {
    let data = data.to_str().unwrap();
    ["--data", data, "--listen", "127.0.0.1:0", "--metrics", "off", "--quick"].map(str::to_owned).to_vec()
}

#[test]
fn a_server_that_is_well_is_told_so_and_nothing_is_changed() {
    let keys = Keys::new();
    let mut server = keys.serve();
    let data = server.data().to_owned();
    let path = keys.path();
    let arguments =
        ["--data", data.to_str().unwrap(), "--tls", "--keys", path.to_str().unwrap(), "--metrics", "off"];
    let (code, well) = doctor(&[&arguments[..], &["--quick"]].concat());
    assert_eq!((bad(&well), found(&well, "server", "good").len()), (vec![], 1), "{well:#}");
    assert!(code == 0 || well["bad"].as_u64() > Some(0), "{well:#}");
    assert!(found(&well, "ports", "good")[0].contains(" answers"), "{well:#}");
    assert!(found(&well, "clients", "good")[0].contains("https://127.0.0.1:"), "{well:#}");
    assert!(found(&well, "certificate", "good")[0].contains("is for 127.0.0.1"), "{well:#}");
    for check in ["clock", "configuration", "directory", "keys", "open files"] {
        let judged = found(&well, check, "good").len() + found(&well, check, "look").len();
        assert_eq!(judged, 1, "{check}: {well:#}");
    }
    assert!(found(&well, "disk", "good").is_empty() && found(&well, "processor", "good").is_empty());

    server.stop();
    let before = listed(&data);
    let (_, measured) = doctor(&arguments);
    let figure = |check: &str, key: &str| {
        let all = measured["checks"].as_array().unwrap().iter();
        all.filter(|finding| finding["check"] == check).find_map(|finding| finding["figures"][key].as_f64())
    };
    assert!(
        figure("disk", "sync_ms_p50") > Some(0.0) && figure("disk", "write_bytes_per_second") > Some(1e5)
    );
    assert!(figure("disk", "sync_ms_p99") >= figure("disk", "sync_ms_p50"));
    assert!(
        figure("processor", "sha256_bytes_per_second") > Some(1e6)
            && figure("processor", "cores") > Some(0.0)
    );
    let sizing = measured["sizing"].to_string();
    assert!(sizing.contains("This machine can hold about") && sizing.contains("names a second"), "{sizing}");
    assert_eq!(listed(&data), before);
}

#[test]
fn each_thing_that_is_bad_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let own = alone(&data);
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    let with = |more: &[&str]| doctor(&[&own[..], more].concat());
    let (code, well) = with(&[]);
    assert_eq!((bad(&well), found(&well, "ports", "good").len()), (vec![], 1), "{well:#}");
    assert!(code == 0 || well["bad"].as_u64() > Some(0), "{well:#}");
    assert!(!data.exists());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = with(&["--listen", &address]);
    assert_eq!((code, bad(&said)), (3, vec!["ports".into()]));
    assert!(found(&said, "ports", "bad")[0].contains("something else listens"), "{said:#}");
    drop(taken);
    let (code, said) = with(&["--url", &format!("grpc://{address}")]);
    assert_eq!((code, bad(&said)), (3, vec!["clients".into()]));
    assert!(found(&said, "clients", "bad")[0].to_lowercase().contains("refused"), "{said:#}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (code, said) = doctor(&["--quick", "--listen", "127.0.0.1:0", "--data", file.to_str().unwrap()]);
    assert_eq!((code, bad(&said)), (3, vec!["directory".into()]));

    let limit = "ulimit -n 300 && exec \"$0\" \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", limit, env!("CARGO_BIN_EXE_millpond"), "doctor", "--json"]).args(&own);
    let (code, limited) = said_by(&mut command);
    assert_eq!((code, bad(&limited)), (3, vec!["open files".into()]));
    assert!(found(&limited, "open files", "bad")[0].contains("300 open, which leaves 75"), "{limited:#}");
}

#[test]
fn keys_that_expire_or_that_others_read_are_bad() {
    let folder = TempDir::new().unwrap();
    let own = alone(&folder.path().join("data"));
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    let keys = Keys::with(&["--days", "1"]);
    let path = keys.path();
    let judged = |path: &Path| doctor(&[&own[..], &["--tls", "--keys", path.to_str().unwrap()]].concat());
    let (code, said) = judged(&path);
    assert_eq!((code, bad(&said)), (3, vec!["certificate".into()]));
    assert!(found(&said, "certificate", "bad")[0].contains("millpond keys renew server"), "{said:#}");
    keys.run(&["keys", "renew", "server"]);
    assert_eq!(bad(&judged(&path).1), Vec::<String>::new());
    let key = path.join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = judged(&path);
    assert_eq!((code, bad(&said)), (3, vec!["keys".into()]));
    assert!(found(&said, "keys", "bad")[0].contains("may read"), "{said:#}");
    let (code, said) = judged(&folder.path().join("nowhere"));
    assert_eq!((code, bad(&said)), (3, vec!["keys".into(), "certificate".into()]), "{said:#}");
}

/// The program as a user that may not do everything, if there is such a one.
fn unprivileged() -> Option<Command> {
    let program = env!("CARGO_BIN_EXE_millpond");
    if !rustix::process::geteuid().is_root() {
        return Some(Command::new(program));
    }
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]);
        command
    };
    let may = as_nobody().arg("--version").output();
    may.is_ok_and(|output| output.status.success()).then(as_nobody)
}

#[test]
fn another_user_is_told_that_the_servers_has_to_ask() {
    let as_another = unprivileged().filter(|_| rustix::process::geteuid().is_root());
    let Some(mut command) = as_another else {
        return skip("the doctor as another user: the program cannot be run as one here");
    };
    let server = Server::start();
    let own = alone(server.data());
    let (code, said) = said_by(command.args(["doctor", "--json"]).args(&own).current_dir("/"));
    assert_eq!((code, bad(&said)), (3, vec!["server".into(), "directory".into()]), "{said:#}");
    let of_server = &found(&said, "server", "bad")[0];
    assert!(
        of_server.contains("cannot be told") && of_server.contains("as the user that the server runs as"),
        "{of_server}"
    );
    assert!(found(&said, "space", "look")[0].contains("cannot be told"), "{said:#}");
    assert!(!said.to_string().contains("index of 0 blobs"), "{said:#}");
}

#[test]
fn a_directory_that_the_user_may_not_write_is_bad() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for place in [folder.path(), &data] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let Some(mut command) = unprivileged() else {
        return skip("the doctor as another user: the program cannot be run as one here");
    };
    command.args(["doctor", "--json"]).args(alone(&data).iter().filter(|argument| *argument != "--quick"));
    let (code, said) = said_by(command.current_dir("/"));
    assert_eq!((code, bad(&said)), (3, vec!["directory".into()]), "{said:#}");
    assert!(found(&said, "disk", "bad")[0].contains("nothing can be written"), "{said:#}");
    assert!(!folder.path().join("data/admin.sock").exists());
}

#[test]
fn a_server_that_hangs_does_not_hang_the_doctor() {
    let server = Server::start();
    server.signal(Signal::STOP);
    let begun = Instant::now();
    let data = server.data().to_str().unwrap().to_owned();
    let address = server.url().trim_start_matches("http://").to_owned();
    let (code, said) = doctor(&[
        "--quick",
        "--data",
        &data,
        "--listen",
        &address,
        "--metrics",
        "off",
        "--url",
        server.url(),
    ]);
    server.signal(Signal::CONT);
    assert_eq!(code, 3);
    assert_eq!(bad(&said), ["server", "ports", "clients"], "{said:#}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn memory_is_no_place_for_a_volume() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        return skip("the doctor on tmpfs: there is no /dev/shm here");
    };
    let own = alone(&folder.path().join("data"));
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    let (_, said) = doctor(&own);
    assert!(found(&said, "file system", "look")[0].contains("lies in memory"), "{said:#}");
}

#[cfg(feature = "real-clients")]
#[test]
fn a_disk_that_is_full_or_cannot_be_written_is_bad() {
    let disk = match crate::loop_disk::SmallDisk::new(96 << 20) {
        Ok(disk) => disk,
        Err(words) => return skip(&format!("the doctor on a full disk: {words}")),
    };
    let data = disk.place().join("pond");
    let own = alone(&data);
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    let server = Server::start_at(&data, &["--max-size", "60MB"]);
    drop(server);
    let (_, said) = doctor(&own);
    assert_eq!(bad(&said), Vec::<String>::new(), "{said:#}");
    let mut others = fs::File::create(disk.place().join("others")).unwrap();
    while std::io::Write::write_all(&mut others, &[7; 65_536]).is_ok() {}
    let (code, said) = doctor(&own);
    assert_eq!((code, bad(&said)), (3, vec!["space".into()]), "{said:#}");
    assert!(found(&said, "space", "bad")[0].contains("make room"), "{said:#}");
    drop(others);
    fs::remove_file(disk.place().join("others")).unwrap();
    disk.make_read_only();
    let (code, said) = doctor(&own);
    assert_eq!((code, bad(&said)), (3, vec!["directory".into(), "file system".into()]), "{said:#}");
}
