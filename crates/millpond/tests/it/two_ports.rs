//! The two ports of `serve --tls`, which are the same for all of a machine: tried in a network of the test's own.

use std::env;
use std::process::Command;

use tokio::runtime::Runtime;
use tonic::Code;

use crate::battery::Blob;
use crate::issued::Keys;
use crate::server::{Server, skip};
use crate::tls::Client;

/// Set where this test runs itself, in that network.
const INSIDE: &str = "MILLPOND_TEST_INSIDE";
const NAME: &str = "two_ports::everybody_pulls_at_11001_and_holders_of_keys_push_at_11002";

#[test]
fn everybody_pulls_at_11001_and_holders_of_keys_push_at_11002() {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let unshare = |arguments: &[&str]| {
        Command::new("unshare").args(["--map-root-user", "--net"]).args(arguments).env(INSIDE, "1").output()
    };
    let possible = unshare(&["ip", "link", "set", "lo", "up"]);
    if !possible.is_ok_and(|tried| tried.status.success()) {
        return skip("the two ports of serve --tls: no network of its own may be made here");
    }
    let itself = env::current_exe().unwrap();
    let line = format!("ip link set lo up && exec '{}' --exact {NAME} --nocapture", itself.display());
    let ran = unshare(&["sh", "-c", &line]).unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{complaint}");
}

fn inside() {
    let keys = Keys::new();
    keys.run(&["keys", "issue", "alice", "--push"]);
    let server = Server::start_where_configured(&["--tls", "--keys", keys.path().to_str().unwrap()]);
    server.wait_for("[::]:11001 (TLS): everybody may pull, and nobody push", 1);
    server.wait_for("[::]:11002 (TLS): holders of keys and tokens may pull and push", 1);
    server.wait_for("listening on [::]:11002", 1);

    let runtime = Runtime::new().unwrap();
    let connect = |port: u16, known: bool| {
        let shown = known.then(|| keys.client("alice"));
        Client::connect(&runtime, &format!("127.0.0.1:{port}"), &keys.ca(), shown)
    };
    let blob = Blob::new(&b"built by alice"[..]);
    let push = |client: &Client| client.push(&runtime, &blob).map_err(|status| status.code());
    for known in [false, true] {
        let client = connect(11001, known);
        assert!(!client.finds(&runtime, &blob).unwrap());
        assert_eq!(push(&client), Err(Code::PermissionDenied));
    }
    let nobody = connect(11002, false);
    assert_eq!(nobody.finds(&runtime, &blob).unwrap_err().code(), Code::Unauthenticated);
    assert!(push(&nobody).is_err());
    push(&connect(11002, true)).unwrap();
    assert!(connect(11001, false).finds(&runtime, &blob).unwrap());
}
