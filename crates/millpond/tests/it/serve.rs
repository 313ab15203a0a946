//! Starting and ending: what is refused with which code, where it listens, and that a volume can be had again.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use millpond_proto::bytestream::WriteRequest;
use millpond_proto::bytestream::byte_stream_client::ByteStreamClient;
use millpond_proto::reapi::GetCapabilitiesRequest;
use millpond_proto::reapi::capabilities_client::CapabilitiesClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use twox_hash::XxHash3_64;

use crate::server::Server;

/// What an operator may count on between SIGTERM and the end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Runs the program to its end, in a folder where nothing else is.
fn millpond(arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    run(&folder, arguments)
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments);
    if !arguments.contains(&"--metrics") {
        command.args(["--metrics", "off"]);
    }
    command.current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Checks that it refuses a configuration, and names the line and says this.
#[track_caller]
fn file_refused(text: &str, code: i32, place: &str, part: &str) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("pond.toml"), text).unwrap();
    let output = run(&folder, &["serve", "--config", "pond.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}: {said}");
    assert!(said.contains(&format!("error: pond.toml, {place}: ")) && said.contains(part), "{text}: {said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "something was made: {text}");
}

/// Checks that it ends with this code, one error, one hint, and nothing on standard output.
#[track_caller]
fn refused(arguments: &[&str], code: i32, part: &str) {
    let output = millpond(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains("error: ") && said.contains(part), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Connections take descriptors, but never those that the store needs.
#[test]
fn connections_beyond_what_may_be_open_wait() {
    const FILES: usize = 400;
    let mut server = Server::start_with(&["--metrics", "off"]);
    server.stop();
    server.start_again_with_open_files(FILES);
    let address = listening(&server, 2)[1];
    let connections: Vec<TcpStream> = (0..FILES / 2).map(|_| TcpStream::connect(address).unwrap()).collect();
    let sockets = || {
        let files = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
        let names = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while sockets() < FILES / 4 {
        assert!(Instant::now() < deadline, "{} sockets", sockets());
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(300));
    // A listener, and a pair for signals, beside the connections.
    assert!(sockets() <= FILES / 4 + 5, "{} sockets", sockets());
    drop(connections);
    answers(address);
}

/// A call over the network; that it is answered is what counts.
fn answers(address: SocketAddr) {
    Runtime::new().unwrap().block_on(async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = CapabilitiesClient::new(channel);
        client.get_capabilities(GetCapabilitiesRequest::default()).await.unwrap();
    });
}

/// What it says on its lines `listening on`, once there are so many.
fn listening(server: &Server, count: usize) -> Vec<SocketAddr> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let log = server.log();
        let addresses: Vec<SocketAddr> =
            log.lines().filter_map(|line| line.strip_prefix("listening on ")?.parse().ok()).collect();
        if addresses.len() >= count {
            return addresses;
        }
        assert!(Instant::now() < deadline, "{log}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn command_line_and_configuration_that_cannot_be_meant_are_refused() {
    for arguments in [
        &["--max-size", "12G"][..],
        &["--lease", "3"],
        &["--listen", "localhost:11001"],
        &["--max-size", "1MB", "--listen", "127.0.0.1:0"],
        &["--config", "nowhere.toml"],
        &["serve", "--instnace", "x"],
        &["--data", ""],
        &["--instance", "a b"],
    ] {
        refused(arguments, 2, "");
    }
    refused(&["--data", ""], 2, "--data: the path of the data directory is empty");
}

#[test]
fn configuration_that_cannot_be_meant_is_refused_with_line_and_key_and_nothing_is_made() {
    file_refused("[store]\nmax_sise = \"1GB\"\n", 2, "line 2", "did you mean \"max_size\"?");
    file_refused("data = \"pond\"\n", 2, "line 1", "\"data\" belongs below [store]");
    file_refused("[listener]\naddress = \"127.0.0.1:0\"\n", 2, "line 1", "hint: write [[listener]]");
    file_refused("[store]\nmax_size = \"1MB\"\n", 2, "line 2, max_size", "at least 8.0 MB");
    file_refused("[store]\ndata = \"\"\n", 2, "line 2, data", "is empty");
    file_refused("[[instance]]\nname = \"a b\"\n", 2, "line 2, name", "letters, digits");
    let listener = |address: &str| format!("[[listener]]\naddress = \"{address}\"\n");
    file_refused(&listener("0.0.0.0:0"), 2, "line 2, address", "add the line insecure = true");
    file_refused(&listener("192.0.2.1:0\"\ninsecure = true #"), 2, "line 2, address", "no address of this");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    file_refused(&listener(&address), 14, "line 2, address", "another address as address in line 2");
}

#[test]
fn address_given_twice_is_not_blamed_on_others() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [ipv4, all] = [format!("127.0.0.1:{port}"), format!("[::]:{port}")];
    refused(&["--listen", &ipv4, "--listen", &ipv4], 2, "--listen: ");
    refused(&["--listen", &ipv4, "--listen", &ipv4], 2, "is given twice");
    refused(&["--insecure", "--listen", &all, "--listen", &ipv4], 2, "is given twice, since [::]");
    refused(&["--insecure", "--listen", &all, "--metrics", &ipv4], 2, "is given twice, since [::]");
}

#[test]
fn address_of_another_machine_is_refused_as_the_documents_say() {
    refused(&["--insecure", "--listen", "192.0.2.1:0"], 2, "no address of this machine");
}

#[test]
fn address_that_others_can_reach_is_refused_without_a_decision() {
    refused(&["serve", "--listen", "0.0.0.0:0"], 2, "--insecure");
    refused(&["serve", "--listen", "[::]:0"], 2, "--insecure");
    refused(&["serve", "--listen", "127.0.0.1:0", "--metrics", "0.0.0.0:0"], 2, "--insecure");
}

#[test]
fn volume_in_use_is_refused_and_its_process_named() {
    let server = Server::start();
    let lock = fs::read_to_string(server.data().join("lock")).unwrap();
    let holder = format!("process {}\n", lock.trim());
    refused(&["serve", "--data", text(server.data()), "--listen", "127.0.0.1:0"], 11, &holder);
    answers(listening(&server, 1)[0]);
}

#[test]
fn volume_of_a_newer_format_is_refused_and_left_as_it_is() {
    let mut server = Server::start();
    server.stop();
    for name in ["format", "format.copy"] {
        let path = server.data().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[8..12].copy_from_slice(&99_u32.to_le_bytes());
        let (body, checksum) = bytes.split_last_chunk_mut::<8>().unwrap();
        *checksum = XxHash3_64::oneshot(body).to_le_bytes();
        fs::write(&path, &bytes).unwrap();
    }
    let before = fs::read(server.data().join("format")).unwrap();
    refused(&["serve", "--data", text(server.data()), "--listen", "127.0.0.1:0"], 12, "99");
    assert_eq!(fs::read(server.data().join("format")).unwrap(), before);
}

#[test]
fn data_directory_that_cannot_be_made_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let link = folder.path().join("link");
    symlink("not-mounted", &link).unwrap();
    for (data, part) in [
        (file.as_path(), "is not a directory"),
        (&file.join("below"), "file is not a directory"),
        (&link, "leads to not-mounted, which is not there"),
        (&link.join("below"), "leads to not-mounted, which is not there"),
        (Path::new("/proc/millpond"), "cannot be made or written"),
        (Path::new("/sys/millpond"), "cannot be made or written"),
    ] {
        refused(&["serve", "--data", text(data), "--listen", "127.0.0.1:0"], 13, text(data));
        refused(&["serve", "--data", text(data), "--listen", "127.0.0.1:0"], 13, part);
    }
}

#[test]
fn address_in_use_is_refused_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    refused(&["serve", "--data", text(&data), "--listen", &address], 14, &address);
    refused(
        &["serve", "--data", text(&data), "--listen", "127.0.0.1:0", "--metrics", &address],
        14,
        &address,
    );
    assert!(!data.exists(), "the volume was made");
}

#[test]
fn start_tells_where_how_full_and_what_to_paste() {
    let server = Server::start_with(&["--max-size", "64MiB"]);
    let address = listening(&server, 1)[0];
    let log = server.log();
    let paste =
        format!("artifacts:\n  servers:\n  - url: http://{address}\n    push: true\nsource-caches:\n");
    assert!(log.contains(&paste), "{log}");
    assert!(log.contains(&format!("artifacts:\n  url: http://{address}\n  push: true\n")), "{log}");
    assert!(log.contains(text(server.data())), "{log}");
    assert!(log.contains(" of 67.1 MB ("), "{log}");
    assert!(log.contains("pull and push are open to everybody on this machine"), "{log}");
    assert!(log.contains(" free on its file system"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn start_warns_of_a_limit_above_what_is_free_and_tells_of_no_lease() {
    let server = Server::start_with(&["--max-size", "9000TB", "--lease", "0s", "--instance", "team/a"]);
    listening(&server, 1);
    let log = server.log();
    assert!(log.contains("WARN") && log.contains("of the 9000.0 TB that may be used"), "{log}");
    assert!(log.contains("\nlease 0s: "), "{log}");
    assert!(log.contains("\ninstances beside the empty one: team/a\n"), "{log}");
}

#[test]
fn metrics_are_served_where_asked() {
    let server = Server::start_with(&["--metrics", "127.0.0.1:0"]);
    listening(&server, 1);
    let log = server.log();
    let address = log.split("metrics: http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\nmillpond_limit_bytes "), "{answer}");
    let data = server.data().canonicalize().unwrap();
    assert!(answer.contains(&format!("\nmillpond_volume_info{{data=\"{}\"}} 1\n", text(&data))), "{answer}");
}

#[test]
fn without_a_command_it_serves_from_a_folder_beside() {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["--listen", "127.0.0.1:0", "--metrics", "off"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let volume = folder.path().join("millpond-data/format");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !volume.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(volume.exists());
}

#[test]
fn ipv6_wildcard_answers_both_families() {
    let server = Server::start_with(&["--listen", "[::]:0", "--insecure"]);
    let port = listening(&server, 2)[1].port();
    answers(SocketAddr::from(([127, 0, 0, 1], port)));
    answers(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
}

#[test]
fn ipv6_loopback_answers_beside_ipv4() {
    let server = Server::start_with(&["--listen", "[::1]:0"]);
    for address in listening(&server, 2) {
        answers(address);
    }
}

#[test]
fn restart_right_after_sigkill_answers_at_the_same_address() {
    let mut server = Server::start();
    let address = listening(&server, 1)[0];
    for _ in 0..5 {
        answers(address);
        server.kill();
        server.start_again();
        assert!(server.url().ends_with(&address.to_string()));
    }
}

#[test]
fn sigterm_ends_an_idle_server_cleanly() {
    let mut server = Server::start();
    answers(listening(&server, 1)[0]);
    assert_eq!(server.stop().code(), Some(0));
    assert!(server.data().join("clean").exists());
    server.start_again();
    answers(listening(&server, 2)[1]);
}

/// An upload that began and does not go on, for as long as the sender is kept.
fn stuck_upload(runtime: &Runtime, address: SocketAddr) -> mpsc::Sender<WriteRequest> {
    let (sender, receiver) = mpsc::channel(1);
    let hash = "0".repeat(64);
    let first = WriteRequest {
        resource_name: format!("uploads/00000000-0000-4000-8000-000000000000/blobs/{hash}/1000"),
        data: vec![0; 10].into(),
        ..WriteRequest::default()
    };
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        sender.send(first.clone()).await.unwrap();
        tokio::spawn(
            async move { ByteStreamClient::new(channel).write(ReceiverStream::new(receiver)).await },
        );
        // There is room for the second once the first was taken to be sent.
        sender.send(WriteRequest { write_offset: 10, ..first }).await.unwrap();
    });
    sender
}

#[test]
fn sigterm_ends_a_server_in_time_although_an_upload_is_stuck() {
    let mut server = Server::start();
    let runtime = Runtime::new().unwrap();
    let _upload = stuck_upload(&runtime, listening(&server, 1)[0]);
    let asked = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(asked.elapsed() < ENDS_WITHIN, "it took {:?}", asked.elapsed());
    assert!(server.data().join("clean").exists());
}

#[test]
fn second_signal_ends_at_once_and_the_volume_opens_again() {
    let mut server = Server::start();
    let runtime = Runtime::new().unwrap();
    let _upload = stuck_upload(&runtime, listening(&server, 1)[0]);
    server.signal(rustix::process::Signal::TERM);
    server.wait_for("SIGTERM: ending", 1);
    assert_eq!(server.stop().code(), Some(1));
    assert!(!server.data().join("clean").exists());
    server.start_again();
    answers(listening(&server, 2)[1]);
}

/// A pack as a crash leaves it, so large that the search of it takes minutes; it takes no room.
fn leave_a_pack_to_search(data: &Path) {
    let path = data.join("packs/fe/000000fe.open");
    fs::File::create(path).unwrap().set_len(4 << 40).unwrap();
}

#[test]
fn sigterm_in_a_long_start_ends_it_cleanly() {
    let mut server = Server::start();
    server.stop();
    leave_a_pack_to_search(server.data());
    server.start_until("opening ", 2);
    assert_eq!(server.stop().code(), Some(0));
    assert!(server.log().contains("SIGTERM: ended while the volume was being opened"), "{}", server.log());
    fs::remove_file(server.data().join("packs/fe/000000fe.open")).unwrap();
    server.start_again();
    answers(listening(&server, 2)[1]);
}
