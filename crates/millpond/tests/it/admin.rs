//! The administration socket and the listeners that allow administration: who is answered, and who is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use millpond_proto::admin::GetStatusRequest;
use millpond_proto::admin::admin_client::AdminClient;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::server::Server;

/// The exit code of a command that asks this server, and what it said on standard output and standard error.
pub(crate) fn ask(server: &Server, arguments: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments.split(' ')).arg("--data").arg(server.data());
    said(&mut command)
}

fn said(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// What it answered, as JSON.
pub(crate) fn answer(server: &Server, arguments: &str) -> Value {
    let (code, printed, complaint) = ask(server, arguments);
    assert_eq!((code, complaint.as_str()), (0, ""), "{arguments}");
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn status_says_what_a_server_is_while_it_runs_and_that_it_does_not() {
    let mut server = Server::start_with(&["--max-size", "60MB"]);
    let socket = server.data().join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = answer(&server, "status --json");
    assert_eq!(status["process_id"], server.id());
    assert_eq!(status["limit_bytes"], 60_000_000);
    assert_eq!((&status["names"], &status["poisoned"]), (&0.into(), &Value::Null));
    let listener = &status["listeners"][0];
    assert_eq!(format!("http://{}", listener["address"].as_str().unwrap()), server.url());
    assert_eq!((&listener["allow"], &listener["anonymous"]), (&"push".into(), &"push".into()));
    let (code, text, _) = ask(&server, "status");
    assert_eq!(code, 0);
    for part in [" of 60.0 MB (", "holds: 0 names, and 0 blobs", "push at most, push without a credential"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    server.kill();
    let (code, printed, complaint) = ask(&server, "status");
    assert_eq!((code, printed.as_str()), (15, ""));
    assert!(complaint.contains("no server runs there") && complaint.contains("\nhint: "), "{complaint}");
    server.start_again();
    assert_eq!(answer(&server, "status --json")["process_id"], server.id());
    server.stop();
    assert!(!socket.exists());
    assert_eq!(ask(&server, "status").0, 15);
    fs::remove_dir_all(server.data()).unwrap();
    assert_eq!(ask(&server, "status").0, 10);
}

#[test]
fn socket_is_where_it_is_configured_or_nowhere() {
    let folder = TempDir::new().unwrap();
    let long = folder.path().join("n".repeat(200));
    fs::create_dir(&long).unwrap();
    let path = long.join("pond.sock");
    let mut server = Server::start_with(&["--admin-socket", path.to_str().unwrap()]);
    assert_eq!(ask(&server, "status").0, 15);
    let elsewhere = format!("status --json --admin-socket {}", path.display());
    assert_eq!(answer(&server, &elsewhere)["process_id"], server.id());
    server.stop();
    server.start_again_with(&["--admin-socket", "off"]);
    assert!(!server.data().join("admin.sock").exists());
    let (code, _, complaint) = ask(&server, "status --admin-socket off");
    assert!(code == 2 && complaint.contains("set to off"), "{complaint}");
}

/// A server whose listeners allow administration and pushing, in this order, and a token with each right.
fn with_listeners(folder: &TempDir) -> (Server, impl Fn(&str) -> String) {
    let configuration = "[identity]\nkeys = \"keys\"\n\
                         [[listener]]\naddress = \"127.0.0.1:0\"\nallow = \"admin\"\n\
                         [[listener]]\naddress = \"127.0.0.1:0\"\n";
    let path = folder.path().join("millpond.toml");
    fs::write(&path, configuration).unwrap();
    let keys = folder.path().join("keys");
    let token = move |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.args(["tokens", "issue"]).args(arguments.split(' ')).arg("--keys").arg(&keys);
        let (code, token, complaint) = said(&mut command);
        assert_eq!(code, 0, "{complaint}");
        token.trim().to_owned()
    };
    fs::create_dir(folder.path().join("keys")).unwrap();
    (Server::start_where_configured(&["--config", path.to_str().unwrap()]), token)
}

async fn status(address: &str, token: Option<&str>) -> Result<u32, Status> {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut request = Request::new(GetStatusRequest {});
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    Ok(AdminClient::new(channel).get_status(request).await?.into_inner().process_id)
}

#[test]
fn administration_takes_the_right_to_and_a_listener_that_allows_it() {
    let folder = TempDir::new().unwrap();
    let (server, token) = with_listeners(&folder);
    let (admin, push, narrow) =
        (token("root --admin"), token("alice --push"), token("bob --admin --project sdk"));
    server.wait_for("identities were read anew", 1);
    let found = answer(&server, "status --json");
    let address = |place: usize| found["listeners"][place]["address"].as_str().unwrap().to_owned();
    let (allows, allows_not) = (address(0), address(1));

    let runtime = Runtime::new().unwrap();
    let ask = |address: &str, token: Option<&str>| runtime.block_on(status(address, token));
    // The register may have been read between two of the tokens.
    while ask(&allows, Some(&narrow)).unwrap_err().code() == Code::Unauthenticated {}
    assert_eq!(ask(&allows, Some(&admin)).unwrap(), server.id());
    for (token, code, part) in [
        (None, Code::Unauthenticated, "needs a credential"),
        (Some("mp_00000000_x"), Code::Unauthenticated, ""),
        (Some(push.as_str()), Code::PermissionDenied, "alice may not administer this cache"),
        (Some(narrow.as_str()), Code::PermissionDenied, "limited to no instance"),
    ] {
        let refused = ask(&allows, token).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
    }
    assert_eq!(ask(&allows_not, Some(&admin)).unwrap_err().code(), Code::Unimplemented);
}

/// Needs root, to be somebody else.
#[cfg(feature = "real-clients")]
#[test]
fn other_users_of_the_machine_are_not_served_whatever_the_mode() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("millpond");
    fs::copy(env!("CARGO_BIN_EXE_millpond"), &program).unwrap();
    let path = folder.path().join("admin.sock");
    let server = Server::start_with(&["--admin-socket", path.to_str().unwrap()]);
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        said(command.args(["status", "--admin-socket"]).arg(&path).current_dir("/"))
    };
    let (code, _, complaint) = as_nobody();
    assert!(code == 1 && complaint.contains("may not administer"), "{code} {complaint}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, printed, complaint) = as_nobody();
    assert_eq!((code, printed.as_str()), (1, ""), "{complaint}");
    server.wait_for("may not administer this server", 1);
}

#[test]
fn command_that_asks_a_server_which_is_stopped_gives_up() {
    use rustix::process::Signal;

    let server = Server::start();
    server.signal(Signal::STOP);
    let (code, _, complaint) = ask(&server, "status");
    server.signal(Signal::CONT);
    assert_eq!(code, 1, "{complaint}");
    assert!(complaint.contains("the connection to the server was lost"), "{complaint}");
    assert_eq!(ask(&server, "status").0, 0);
}
