//! `millpond bench` against the server that it belongs to.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::server::Server;

/// Runs it to its end.
pub(crate) fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.arg("bench").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What it told the user.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bench_runs_every_row_without_an_error() {
    let server = Server::start();
    let (pid, data) = (server.pid().to_string(), server.data().to_str().unwrap());
    let measured = ["--count", "12", "--connections", "3", "--pid", &pid, "--server-data", data];
    let output = bench(&[&["--against", server.url(), "--json"], &measured[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 18);
    // Without TLS there is no session to take up.
    let (reconnect, rows) = rows.split_last().unwrap();
    assert!(reconnect["skipped"].as_str().unwrap().contains("no TLS session"), "{reconnect}");
    for row in rows {
        assert_eq!((&row["errors"], &row["skipped"]), (&Value::Array(Vec::new()), &Value::Null), "{row}");
        assert_eq!(row["timed"], 12, "{row}");
        let positive = |value: &Value| assert!(value.as_f64().unwrap() > 0.0, "{row}");
        positive(&row["operations_per_second"]);
        positive(&row["milliseconds"]["p50"]);
        positive(&row["server"]["peak_memory_bytes"]);
        positive(&row["server"]["disk_bytes"]);
    }
    // 12 blobs of 64 MiB cost any server some CPU, and take as much on its disk.
    let written = &rows[0];
    assert!(written["server"]["cpu_seconds_per_gib"].as_f64().unwrap() > 0.1, "{written}");
    assert!(written["server"]["disk_grown_bytes"].as_i64().unwrap() >= 12 << 26, "{written}");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn bench_prints_a_table_and_its_time_is_bounded() {
    let server = Server::start();
    let output = bench(&["--against", server.url(), "--rows", "small", "--seconds", "0"]);
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = table.lines().map(words).collect();
    let names: Vec<_> = lines.iter().map(|words| &words[0][..]).collect();
    assert_eq!(names, ["row", "small-write", "small-read"], "{table}");
    // No time, no operations.
    assert!(lines[1..].iter().all(|words| words[3] == "0"), "{table}");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// All at once they would take 14 GB, and minutes; a part takes 200 MB.
#[test]
fn bench_prepares_no_more_than_fits_into_memory_however_many_are_asked_for() {
    const MEMORY_KIB: &str = "4000000";
    let server = Server::start();
    let limited = format!("ulimit -v {MEMORY_KIB} && exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_millpond"), "bench", "--against", server.url()]);
    command.args(["--json", "--rows", "small-write", "--count", "2000000", "--seconds", "1"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    assert_eq!(report["rows"][0]["errors"], Value::Array(Vec::new()));
    assert!(report["rows"][0]["timed"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn bench_makes_every_operation_of_a_row_that_takes_several_parts() {
    const OPERATIONS: u64 = 1201;
    let server = Server::start();
    let count = OPERATIONS.to_string();
    let rows = ["--rows", "build-push", "--seconds", "600", "--count", &count];
    let output = bench(&[&["--against", server.url(), "--json"], &rows[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rows"][0]["operations"], OPERATIONS, "{report}");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn bench_keeps_idle_connections_open_beside_the_load() {
    let server = Server::start();
    let counts = ["--connections", "2", "--idle", "40", "--count", "10"];
    let output =
        bench(&[&["--against", server.url(), "--json", "--rows", "small-write"], &counts[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["connections"], &report["idle"]), (&2.into(), &40.into()));
    assert_eq!(report["rows"][0]["operations"], 10);
}

#[test]
fn bench_tells_what_a_server_refuses() {
    let server = Server::start_with(&["--max-size", "64MB"]);
    let output = bench(&["--against", server.url(), "--rows", "large-write", "--count", "2"]);
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(table.contains("times RESOURCE_EXHAUSTED"), "{table}");
    assert!(said(&output).contains("1 of 1 rows had errors"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn bench_that_cannot_be_run_says_why() {
    let server = Server::start();
    let cases = [
        (&["--against", "http://127.0.0.1:1"][..], 1, "127.0.0.1:1 does not answer"),
        (&["--against", server.url(), "--instance", "nowhere"], 1, "nowhere"),
        (&["--against", server.url(), "--rows", "small,lrage"], 2, "\"lrage\""),
        (&["--against", server.url(), "--pid", "4194305"], 2, "no process 4194305"),
        (&["--against", "ftp://127.0.0.1:1"], 2, "http://HOST:PORT"),
        (&["--against", server.url(), "--count", "0"], 2, "--count"),
    ];
    for (arguments, code, part) in cases {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(part), "{arguments:?}: {}", said(&output));
    }
}
