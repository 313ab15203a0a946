//! `millpond health`, as a container engine asks it: by its exit code.

use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::admin::ask;
use crate::issued::Keys;

#[test]
fn health_is_0_while_it_serves_and_1_when_it_is_gone_or_hangs() {
    let keys = Keys::new();
    let mut server = keys.serve();
    let (code, said, _) = ask(&server, "health");
    assert_eq!(code, 0);
    assert!(said.contains("its index is loaded"), "{said}");

    server.signal(Signal::STOP);
    let (code, _, complaint) = ask(&server, "health");
    assert!(code == 1 && complaint.contains("has not answered for 5 s"), "{code}: {complaint}");
    server.signal(Signal::CONT);
    assert_eq!(ask(&server, "health").0, 0);

    server.kill();
    let (code, _, complaint) = ask(&server, "health");
    assert!(code == 1 && complaint.contains("no server runs there"), "{code}: {complaint}");
    assert!(complaint.contains("--ready"), "{complaint}");
}

#[test]
fn ready_waits_for_a_server_that_is_still_to_come_and_not_for_ever() {
    let keys = Keys::new();
    let mut server = keys.serve();
    server.stop();
    let since = Instant::now();
    let (code, _, complaint) = ask(&server, "health --ready --within 2s");
    assert!(code == 1 && complaint.contains("after 2s") && since.elapsed().as_secs() >= 2, "{complaint}");

    let mut waiting = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["health", "--ready", "--data"])
        .arg(server.data())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    server.start_again();
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn no_data_directory_is_no_health_and_bad_flags_are_told() {
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.arg("health").args(arguments).current_dir(folder.path()).output().unwrap()
    };
    let none = run(&[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no data directory"));
    // Not waited for: no server is to come.
    let since = Instant::now();
    assert_eq!(run(&["--ready", "--admin-socket", "off"]).status.code(), Some(1));
    assert!(since.elapsed().as_secs() < 10);
}
