//! The server as a service of systemd, with the tests in its place: sockets that are passed, what it says of itself, and the
//! units of `deploy/systemd`.

use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::battery::{Blob, Client};
use crate::server::skip;

const PATIENCE: Duration = Duration::from_secs(60);
/// Becomes the program after it, with its own standard input as the first socket that is passed.
const PASS: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";

/// What systemd would be.
struct Manager {
    folder: TempDir,
    /// Where it is told how the server is.
    told: UnixDatagram,
}

impl Manager {
    /// With a configuration for the server, but for where its data is.
    fn new(configuration: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let told = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let configuration =
            format!("[store]\ndata = \"data\"\n[metrics]\naddress = \"off\"\n{configuration}");
        fs::write(folder.path().join("millpond.toml"), configuration).unwrap();
        Self { folder, told }
    }

    /// Runs something that becomes the server.
    fn start(&self, command: &mut Command) -> Child {
        command
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The program with its arguments.
    fn server(&self) -> [String; 4] {
        let configuration = self.folder.path().join("millpond.toml");
        [env!("CARGO_BIN_EXE_millpond"), "serve", "--config", configuration.to_str().unwrap()]
            .map(str::to_owned)
    }

    /// A server with one socket passed, by its name.
    fn pass(&self, socket: impl Into<OwnedFd>, name: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", PASS, "sh"]).args(self.server()).stdin(Stdio::from(socket.into()));
        self.start(command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name))
    }

    /// What it is told next that has these words.
    fn hears(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut message = [0; 4096];
        loop {
            let length = self.told.recv(&mut message).unwrap_or_else(|error| panic!("no {words}: {error}"));
            let said = String::from_utf8(message[..length].to_vec()).unwrap();
            if said.contains(words) {
                return said;
            }
            assert!(Instant::now() < deadline, "no {words}");
        }
    }
}

fn end(mut server: Child, signal: Signal) -> ExitStatus {
    kill_process(Pid::from_child(&server), signal).unwrap();
    server.wait().unwrap()
}

/// The exit code and the words of a server that does not serve.
fn refused(mut server: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (server.wait().unwrap().code(), said)
}

fn local() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn listener(address: SocketAddr, more: &str) -> String {
    format!("[[listener]]\naddress = \"{address}\"\n{more}\n")
}

#[test]
fn manager_is_told_when_it_serves_and_lives_and_for_how_long_it_may_end() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let manager = Manager::new(&format!("{}[limits]\ndrain = \"3m\"\n", listener(nowhere, "")));
    let [program, arguments @ ..] = manager.server();
    let server = manager.start(Command::new(program).args(arguments).env("WATCHDOG_USEC", "200000"));
    assert!(manager.hears("STATUS=opening").contains("/data"));
    assert!(manager.hears("READY=1").contains("STATUS=serving at 127.0.0.1:"));
    let since = Instant::now();
    for _ in 0..5 {
        manager.hears("WATCHDOG=1");
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert!(end(server, Signal::TERM).success());
    // The drain, a second, seven for the volume, and five over.
    assert!(manager.hears("STOPPING=1").contains("EXTEND_TIMEOUT_USEC=193000000\n"));
}

#[test]
fn manager_is_told_why_it_does_not_start() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let manager = Manager::new(&listener(nowhere, ""));
    fs::write(manager.folder.path().join("data"), "a file").unwrap();
    let [program, arguments @ ..] = manager.server();
    let (code, said) = refused(manager.start(Command::new(program).args(arguments)));
    assert_eq!(code, Some(13), "{said}");
    assert!(manager.hears("STATUS=").contains("is not a directory"));
}

#[test]
fn who_connects_while_the_server_is_started_again_is_served_by_the_next_one() {
    let (socket, address) = local();
    let manager = Manager::new(&listener(address, ""));
    let pass = || manager.pass(socket.try_clone().unwrap(), "millpond.socket");
    let (runtime, url) = (Runtime::new().unwrap(), format!("http://{address}"));
    let blob = Blob::new(&b"kept"[..]);
    let mut server = pass();
    manager.hears("READY=1");
    runtime.block_on(async {
        Client::connect(&url).await.unwrap().update(std::slice::from_ref(&blob)).await.unwrap()
    });

    for signal in [Signal::TERM, Signal::KILL] {
        assert_eq!(end(server, signal).success(), signal == Signal::TERM);
        // Nobody serves: connections are made all the same, and wait.
        TcpStream::connect(address).unwrap();
        let (url, digest) = (url.clone(), blob.digest.clone());
        let waiting = runtime.spawn(async move { Client::connect(&url).await?.missing(vec![digest]).await });
        thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        server = pass();
        manager.hears("READY=1");
        assert!(runtime.block_on(waiting).unwrap().unwrap().is_empty(), "what was pushed is gone");
    }
    end(server, Signal::TERM);
}

#[test]
fn sockets_are_served_by_their_names_and_by_their_addresses() {
    const ACTIVATE: &str = "systemd-socket-activate";
    if Command::new(ACTIVATE).arg("--version").output().is_err() {
        return skip("sockets that systemd passes: there is no systemd-socket-activate here");
    }
    let addresses = [0; 4].map(|_| local()).map(|(_, address)| address);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let [named, by_address, metrics, apart] = addresses;
    let manager = Manager::new(
        &[
            listener(nowhere, "fd_name = \"pull\"\nallow = \"pull\""),
            listener(by_address, ""),
            listener(apart, ""),
        ]
        .concat(),
    );
    let configuration = manager.folder.path().join("millpond.toml");
    let on = fs::read_to_string(&configuration).unwrap().replace("\"off\"", &format!("\"{nowhere}\""));
    fs::write(&configuration, on).unwrap();
    let admin = manager.folder.path().join("data/admin.sock");
    fs::create_dir(admin.parent().unwrap()).unwrap();

    let mut command = Command::new(ACTIVATE);
    for address in
        [named.to_string(), by_address.to_string(), metrics.to_string(), admin.display().to_string()]
    {
        command.args(["--listen", &address]);
    }
    command.args(["--fdname=pull:web:metrics:admin", "--setenv=NOTIFY_SOCKET"]).args(manager.server());
    let server = manager.start(&mut command);
    // It starts the server when somebody connects.
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(named).is_err() {
        assert!(Instant::now() < deadline, "{ACTIVATE} does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    let serving = manager.hears("READY=1");
    assert!(serving.contains(&format!("STATUS=serving at {named}, {by_address}, {apart}\n")), "{serving}");

    let runtime = Runtime::new().unwrap();
    let blob = Blob::new(&b"by name"[..]);
    let push = |to: SocketAddr| {
        runtime.block_on(async {
            Client::connect(&format!("http://{to}")).await.unwrap().update(std::slice::from_ref(&blob)).await
        })
    };
    // Each has what its listener says of rights.
    assert_eq!(push(named).unwrap_err().code(), tonic::Code::PermissionDenied);
    push(by_address).unwrap();
    push(apart).unwrap();
    TcpStream::connect(metrics).unwrap();
    let health = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .arg("health")
        .arg("--config")
        .arg(&configuration)
        .output();
    assert!(health.unwrap().status.success());
    assert!(end(server, Signal::TERM).success());
    assert!(admin.exists(), "the socket is not the server's to remove");
}

#[test]
fn what_is_no_listeners_socket_is_refused_with_what_to_do() {
    let (_, elsewhere) = local();
    let manager = Manager::new(&listener(elsewhere, "fd_name = \"pull\""));
    let check = |socket: OwnedFd, name: &str, parts: &[&str]| {
        let (code, said) = refused(manager.pass(socket, name));
        assert_eq!(code, Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said.contains("hint: "), "{said}");
        assert!(!manager.folder.path().join("data").exists(), "something was made");
    };
    let (socket, address) = local();
    let unknown = format!("passed {address} (\"web\", file descriptor 3): it is no listener's");
    check(socket.into(), "web", &[&unknown, &elsewhere.to_string(), "\"pull\", \"metrics\", \"admin\""]);
    check(local().0.into(), "metrics", &["it is no listener's"]);
    let path = manager.folder.path().join("socket");
    check(
        UnixListener::bind(&path).unwrap().into(),
        "pull",
        &[path.to_str().unwrap(), "it is no listener's"],
    );
    check(
        File::open("/dev/null").unwrap().into(),
        "pull",
        &["\"pull\" as file descriptor 3", "ListenStream="],
    );
    check(UdpSocket::bind("127.0.0.1:0").unwrap().into(), "pull", &["ListenStream="]);
    let (socket, address) = local();
    let connected = TcpStream::connect(address).unwrap();
    check(connected.into(), "pull", &["Accept=no"]);
    check(socket.into(), "pull:push", &["LISTEN_FDNAMES has 2 names"]);
    // As open as its address would be.
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    check(everywhere.into(), "pull", &["can be reached from other machines"]);
}

#[test]
fn sockets_of_another_process_are_none_of_ours() {
    let (socket, address) = local();
    let manager = Manager::new(&listener(SocketAddr::from(([127, 0, 0, 1], 0)), ""));
    let mut command = Command::new("/bin/sh");
    let inherited = PASS.replace("$$", "$PPID");
    command.args(["-c", &inherited, "sh"]).args(manager.server()).stdin(Stdio::from(OwnedFd::from(socket)));
    let server = manager.start(command.env("LISTEN_FDS", "1"));
    assert!(!manager.hears("READY=1").contains(&address.to_string()));
    assert!(end(server, Signal::TERM).success());
}

fn deployed(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)).unwrap()
}

#[test]
fn units_are_verified_and_leave_little_to_an_intruder() {
    let analyze = |arguments: &[&str], files: &[&Path]| {
        let output = Command::new("systemd-analyze").args(arguments).args(files).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    };
    let folder = TempDir::new().unwrap();
    let [service, socket] = ["service", "socket"].map(|kind| {
        let name = format!("millpond.{kind}");
        let unit = deployed(&format!("systemd/{name}"));
        let own = format!("={} ", env!("CARGO_BIN_EXE_millpond"));
        let path = folder.path().join(name);
        fs::write(&path, unit.replace("=millpond ", &own)).unwrap();
        path
    });
    let Some((verified, said)) = analyze(&["verify", "--man=no"], &[&service, &socket]) else {
        return skip("what systemd finds in the units: there is no systemd-analyze here");
    };
    // It speaks of units of the machine's as well.
    assert!(verified && !said.contains("millpond"), "{said}");
    // In tenths, of ten: version 252 counts 11, others may weigh otherwise.
    let (secure, said) = analyze(&["security", "--offline=true", "--threshold=15"], &[&service]).unwrap();
    if said.contains("unrecognized option") {
        return skip("how little the unit may do: this systemd-analyze cannot tell offline");
    }
    assert!(secure && said.contains("Overall exposure level"), "{said}");
}

#[test]
fn package_is_configured_as_setup_does_it_and_its_ports_are_those_of_the_unit() {
    let folder = TempDir::new().unwrap();
    let mut setup = Command::new(env!("CARGO_BIN_EXE_millpond"));
    setup
        .args(["setup", "--domain", "localhost", "--data", "data", "--keys", "keys"])
        .current_dir(folder.path());
    assert!(setup.output().unwrap().status.success());
    let settings = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    };
    let written = fs::read_to_string(folder.path().join("keys/millpond.toml")).unwrap();
    let here = folder.path().canonicalize().unwrap();
    let written =
        written.replace(here.to_str().unwrap(), "/var/lib/millpond").replace("\"0.0.0.0:", "\"[::]:");
    let packaged = settings(&deployed("debian/millpond.toml"));
    assert_eq!(packaged, settings(&written));
    let ports = |lines: &[String], key: &str| -> Vec<String> {
        let values = lines.iter().filter_map(|line| line.strip_prefix(key));
        values.map(|value| value.trim_matches('"').trim_start_matches("[::]:").to_owned()).collect()
    };
    let of_unit = ports(&settings(&deployed("systemd/millpond.socket")), "ListenStream=");
    assert!(of_unit.len() == 2 && of_unit == ports(&packaged, "address = "), "{of_unit:?}");
}
