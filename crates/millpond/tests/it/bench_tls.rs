//! `millpond bench` through TLS, with keys, tokens, and without.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::bench::{bench, said};
use crate::issued::Keys;
use crate::server::Server;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A name, how many operations were made, and the codes of what failed.
type Row = (String, u64, Vec<String>);

/// The rows' names, what they made, and the codes of what failed.
fn rows(arguments: &[&str]) -> (Vec<Row>, Option<i32>) {
    let output = bench(&[&["--json"], arguments].concat());
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| {
        assert_eq!(row["skipped"], Value::Null, "{row}");
        let codes = row["errors"].as_array().unwrap().iter().map(|error| word(&error["code"])).collect();
        (word(&row["row"]), row["operations"].as_u64().unwrap(), codes)
    };
    (report["rows"].as_array().unwrap().iter().map(row).collect(), output.status.code())
}

/// Every row, the one with resumed sessions among them: it counts no connection whose handshake was a whole one.
#[test]
fn every_row_runs_through_tls_for_the_holder_of_a_key() {
    let keys = Keys::new();
    keys.run(&["keys", "issue", "alice", "--push"]);
    let (ca, [cert, key]) = (keys.ca(), keys.client("alice"));
    let server = keys.serve();
    let url = server.url().replace("https://", "grpcs://");
    let shown = ["--ca-cert", text(&ca), "--client-cert", text(&cert), "--client-key", text(&key)];
    let count = ["--count", "7", "--connections", "3"];
    let (rows, code) = rows(&[&["--against", &url], &shown[..], &count[..]].concat());
    assert_eq!((rows.len(), code), (18, Some(0)), "{rows:?}");
    for (name, operations, codes) in rows {
        assert!(operations >= 7 && codes.is_empty(), "{name}: {operations}, {codes:?}");
    }
}

#[test]
fn holder_of_a_token_pushes_and_nobody_without() {
    let keys = Keys::new();
    let token = keys.token_file("ci", "--push");
    let (server, ca) = (keys.serve(), keys.ca());
    let (against, ca) = (["--against", server.url()], ["--ca-cert", text(&ca)]);
    let some = ["--rows", "small-write,connect", "--count", "5"];
    let run = |more: &[&str]| rows(&[&against, &ca, &some[..], more].concat());
    let (done, code) = run(&["--token-file", text(&token)]);
    assert_eq!(code, Some(0), "{done:?}");
    assert!(done.iter().all(|(_, operations, codes)| *operations == 5 && codes.is_empty()), "{done:?}");

    // Everybody may pull there.
    let (done, code) = run(&[]);
    let codes: Vec<_> = done.iter().map(|(name, _, codes)| (&name[..], codes.join(" "))).collect();
    let refused = "PERMISSION_DENIED".to_owned();
    assert_eq!(codes, [("small-write", refused), ("connect", String::new()), ("reconnect", String::new())]);
    assert_eq!(code, Some(3));

    keys.run(&["tokens", "revoke", "ci"]);
    server.wait_for("identities were read anew", 1);
    let revoked = [&against, &ca, &["--token-file", text(&token)][..]].concat();
    let output = bench(&revoked);
    let secret = fs::read_to_string(&token).unwrap().trim().to_owned();
    assert!(!secret.is_empty() && !said(&output).contains(&secret));
    for part in ["refuses the first call", "revoked", "--token-file"] {
        assert!(said(&output).contains(part), "{}", said(&output));
    }
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_stands_in_the_way_of_tls_is_said() {
    let keys = Keys::new();
    keys.run(&["keys", "issue", "alice", "--push"]);
    let [cert, key] = keys.client("alice");
    let (server, plain) = (keys.serve(), Server::start());
    let [of_tls, other] = [server.url(), plain.url()];
    // The same address in another notation, which the certificate does not have.
    let elsewhere = of_tls.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let swapped = other.replace("http", "https");
    let unencrypted = of_tls.replace("https", "http");
    let against = format!("this port speaks TLS\nhint: give --against {of_tls}");
    let (ca, cert, key) = (text(&keys.ca()).to_owned(), text(&cert), text(&key));
    let empty = keys.folder().join("empty");
    fs::write(&empty, "").unwrap();
    let empty = text(&empty);
    let cases = [
        (vec![of_tls, "--ca-cert", empty], 2, "no CA in the file of --ca-cert"),
        (vec![of_tls, "--ca-cert", "/nowhere"], 2, "/nowhere cannot be read"),
        (vec![of_tls, "--ca-cert", &ca, "--client-cert", cert], 2, "--client-key"),
        (vec![of_tls, "--ca-cert", &ca, "--client-cert", cert, "--client-key", cert], 2, "no private key"),
        (vec![of_tls, "--ca-cert", &ca, "--client-cert", &ca, "--client-key", key], 2, "cannot be used"),
        (vec![of_tls, "--ca-cert", &ca, "--token-file", empty], 2, "holds no token"),
        (vec![other, "--ca-cert", &ca], 2, "--ca-cert is for TLS"),
        (vec!["http://cache.example.org", "--token-file", empty], 2, "--token-file is for TLS"),
        (vec![of_tls, "--ca-cert", cert], 1, "signed by nobody who is trusted here"),
        (vec![&elsewhere, "--ca-cert", &ca], 1, "is not for \"::ffff:"),
        (vec![&swapped, "--ca-cert", &ca], 1, "speaks no TLS"),
        (vec![&unencrypted], 1, &against),
    ];
    for (arguments, code, part) in cases {
        let output = bench(&[&["--against"], &arguments[..]].concat());
        assert!(said(&output).contains(part), "{arguments:?}: {}", said(&output));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    }
}

/// Without `--ca-cert` it is this system that says who is trusted.
#[test]
fn certificate_is_held_against_those_whom_the_system_trusts() {
    let keys = Keys::new();
    let server = keys.serve();
    let run = |trusted: &Path| {
        std::process::Command::new(env!("CARGO_BIN_EXE_millpond"))
            .args(["bench", "--against", server.url(), "--rows", "small-read", "--count", "1"])
            // Anybody's: the set-up of the row is refused, the connection is not.
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap()
    };
    assert!(String::from_utf8_lossy(&run(&keys.ca()).stdout).contains("PERMISSION_DENIED"));
    let stranger = run(&keys.folder().join("nothing"));
    assert!(said(&stranger).contains("trusts no CA"), "{}", said(&stranger));
}
