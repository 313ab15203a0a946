//! Certificates of a real ACME authority, Pebble: had, renewed while connections go on, and kept where it is away.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::battery::{Blob, seeded};
use crate::bst::clients_folder;
use crate::issued::Keys;
use crate::server::{Server, skip};

const NAME: &str = "cache.example.test";
const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNT_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An authority that finds every name at 127.0.0.1, at the ports of a server that is to come.
struct Authority {
    keys: Keys,
    config: PathBuf,
    address: SocketAddr,
    management: SocketAddr,
    names: SocketAddr,
    children: Vec<Child>,
    /// Where the server is to listen: for clients, and for documents.
    tls: SocketAddr,
    http: SocketAddr,
}

impl Authority {
    /// Whose certificates are valid for so many seconds; one that asks for an account that it knows, or takes any. `None` where
    /// there is no such program.
    fn start(valid_s: u64, asks_for_account: bool) -> Option<Self> {
        let mut authority = Self::prepare(valid_s, asks_for_account);
        authority.run()?;
        Some(authority)
    }

    fn prepare(valid_s: u64, asks_for_account: bool) -> Self {
        let keys = Keys::new();
        let [address, management, names, tls, http] = std::array::from_fn(|_| free_address());
        let config = keys.folder().join("pebble.json");
        let pebble = json!({
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": keys.path().join("server.crt"),
            "privateKey": keys.path().join("server.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": asks_for_account,
            "externalAccountMACKeys": { "kid-1": ACCOUNT_KEY },
            "certificateValidityPeriod": valid_s,
        });
        fs::write(&config, json!({ "pebble": pebble }).to_string()).unwrap();
        Self { keys, config, address, management, names, children: Vec::new(), tls, http }
    }

    fn run(&mut self) -> Option<()> {
        let Some(programs) = programs() else {
            skip("ACME: there is no pebble on this machine, so no authority issues certificates");
            return None;
        };
        let mut spawn = |command: &mut Command| {
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            self.children.push(child.unwrap());
        };
        spawn(
            Command::new(programs.join("pebble-challtestsrv"))
                .args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-dns01", &self.names.to_string()])
                .args(["-management", &free_address().to_string()]),
        );
        spawn(
            Command::new(programs.join("pebble"))
                .arg("-config")
                .arg(&self.config)
                .args(["-dnsserver", &self.names.to_string()])
                // It looks without a pause, and asks for an account's proof of each name anew.
                .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]),
        );
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() || TcpStream::connect(self.management).is_err() {
            assert!(Instant::now() < deadline, "pebble does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Some(())
    }

    fn end(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whom its clients have to trust: another one each time it starts.
    fn root(&self) -> CertificateDer<'static> {
        let known = CertificateDer::from_pem_file(self.keys.ca()).unwrap();
        let mut stream = handshake(self.management, "127.0.0.1", &known, &[]).unwrap();
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // It may not take leave.
        let _ = stream.read_to_end(&mut answer);
        CertificateDer::from_pem_slice(&answer).unwrap()
    }

    /// The configuration of a server whose certificate it issues.
    fn configuration(&self, more: &str) -> PathBuf {
        let file = self.keys.folder().join("millpond.toml");
        let text = format!(
            "[identity]\nkeys = \"pond-keys\"\n\n[[listener]]\naddress = \"{}\"\ntls = true\nanonymous = \"push\"\n\n\
             [acme]\ndirectory = \"https://{}/dir\"\nca = \"{}\"\nterms_agreed = true\n{more}\n",
            self.tls,
            self.address,
            self.keys.ca().display(),
        );
        fs::write(&file, text).unwrap();
        file
    }

    fn serve(&self, more: &str) -> Server {
        let file = self.configuration(more);
        Server::start_where_configured(&["--config", file.to_str().unwrap()])
    }

    /// What the server keeps of it.
    fn kept(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.keys.folder().join("pond-keys/acme")).unwrap();
        let folder = folders.next().unwrap().unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("127.0.0.1-{}-dir-", self.address.port())), "{name}");
        folder
    }
}

/// Where Pebble's programs are that `scripts/test-clients` unpacks.
fn programs() -> Option<PathBuf> {
    let folder = clients_folder().join("pebble/usr/bin");
    folder.join("pebble").exists().then_some(folder)
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.end();
    }
}

fn handshake(
    address: SocketAddr,
    name: &str,
    root: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> Result<Tls, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The certificate that the server shows, if one whom `root` vouches for.
fn shown(authority: &Authority, root: &CertificateDer<'static>) -> Result<Vec<u8>, std::io::Error> {
    let stream = handshake(authority.tls, NAME, root, &[b"h2"])?;
    Ok(stream.conn.peer_certificates().unwrap()[0].to_vec())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const ISSUED: &str = "a certificate of cache.example.test was issued, until ";
const ASKING: &str = "asking for a certificate of ";
/// When what was issued is read, the second time after what stood in for it.
const READ: &str = "the server's certificate was read anew";

#[test]
fn certificate_is_had_by_a_handshake_and_is_there_after_a_start_without_the_authority() {
    let Some(mut authority) = Authority::start(3600, false) else { return };
    let root = authority.root();
    let mut server = authority.serve(&format!("domains = \"{NAME}\""));
    server.wait_for(READ, 1);
    assert!(server.log().contains(ISSUED), "{}", server.log());
    assert!(server.log().contains("the challenge of an ACME authority was asked for"), "{}", server.log());
    assert!(server.log().contains(&format!("url: https://{NAME}:")), "{}", server.log());
    // It is renewed in time.
    assert!(!server.log().contains("this server's certificate expires"), "{}", server.log());
    let first = shown(&authority, &root).unwrap();
    let kept = authority.kept();
    for (file, expected) in [("certificate.pem", 0o600), ("account.json", 0o600), ("", 0o700)] {
        assert_eq!(mode(&kept.join(file)), expected, "{file}");
    }
    assert!(!kept.join("attempts.json").exists());
    // What answers the authority is there for nobody else, and not for longer.
    let asked = handshake(authority.tls, NAME, &root, &[b"acme-tls/1"]);
    assert!(asked.is_err(), "a challenge is answered that nobody made");
    let secret = fs::read_to_string(kept.join("certificate.pem")).unwrap();
    let key_line = secret.lines().nth(1).unwrap();
    assert!(!server.log().contains(key_line));

    server.stop();
    authority.end();
    server.start_again_where_configured();
    assert_eq!(shown(&authority, &root).unwrap(), first);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(server.log().matches(ASKING).count(), 1, "{}", server.log());
}

#[test]
fn certificate_is_had_by_a_document_and_renewed_while_connections_go_on() {
    let Some(authority) = Authority::start(24, false) else { return };
    let root = authority.root();
    let more = format!(
        "domains = [\"{NAME}\"]\nchallenge = \"http-01\"\nhttp_address = \"{}\"\nrenew_before = \"1h\"",
        authority.http
    );
    let server = authority.serve(&more);
    server.wait_for(READ, 1);
    let first = shown(&authority, &root).unwrap();
    let mut open = handshake(authority.tls, NAME, &root, &[b"http/1.1"]).unwrap();
    let mut ask = || {
        open.write_all(b"HEAD /status HTTP/1.1\r\nhost: cache\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let read = open.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer[..read]));
    };
    ask();
    server.wait_for(READ, 2);
    let second = shown(&authority, &root).unwrap();
    assert_ne!(first, second);
    ask();
    // At the port for documents there is nothing else.
    let mut stream = TcpStream::connect(authority.http).unwrap();
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: cache\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
fn authority_that_is_away_stops_nobody_and_is_not_asked_at_each_start() {
    let Some(mut authority) = Authority::start(3600, false) else { return };
    authority.end();
    let mut server = authority.serve(&format!("domains = \"{NAME}\""));
    server.wait_for("no certificate of cache.example.test was issued: ", 1);
    let file = authority.keys.folder().join("millpond.toml");
    let doctor = Command::new(env!("CARGO_BIN_EXE_millpond")).args(["doctor", "--config"]).arg(file).output();
    let found = String::from_utf8(doctor.unwrap().stdout).unwrap();
    assert!(found.contains("no authority has issued one yet"), "{found}");
    let known = CertificateDer::from_pem_file(authority.keys.ca()).unwrap();
    assert!(shown(&authority, &known).is_err(), "nobody vouches for what stands in");
    assert!(authority.kept().join("attempts.json").exists());
    server.stop();
    authority.run().unwrap();
    server.start_again_where_configured();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(server.log().matches(ASKING).count(), 1, "{}", server.log());
    // As after the time that it waits.
    server.stop();
    fs::remove_file(authority.kept().join("attempts.json")).unwrap();
    server.start_again_where_configured();
    server.wait_for(READ, 1);
    shown(&authority, &authority.root()).unwrap();
    // One that has forgotten its accounts, as Pebble does, and other names: both take a new order.
    server.stop();
    authority.end();
    authority.run().unwrap();
    authority.configuration(&format!("domains = [\"{NAME}\", \"other.example.test\"]"));
    server.start_again_where_configured();
    server.wait_for("a certificate of cache.example.test, other.example.test was issued, until ", 1);
    server.wait_for(READ, 2);
    handshake(authority.tls, "other.example.test", &authority.root(), &[b"h2"]).unwrap();
}

#[test]
fn refusals_of_the_authority_are_told_and_an_account_that_it_knows_is_shown() {
    let Some(authority) = Authority::start(3600, true) else { return };
    let mut server = authority.serve(&format!("domains = \"{NAME}\""));
    server.wait_for("no certificate of cache.example.test was issued: ", 1);
    assert!(server.log().contains("externalAccountRequired"), "{}", server.log());
    server.stop();
    fs::remove_file(authority.kept().join("attempts.json")).unwrap();
    fs::write(authority.keys.folder().join("account-key"), format!("{ACCOUNT_KEY}\n")).unwrap();
    authority.configuration(&format!(
        "domains = \"{NAME}\"\naccount_id = \"kid-1\"\naccount_key_file = \"account-key\""
    ));
    server.start_again_where_configured();
    server.wait_for(READ, 1);
    assert!(!server.log().contains(ACCOUNT_KEY));

    // Where the name leads elsewhere, it says what it found there.
    server.stop();
    let elsewhere = TcpListener::bind(authority.tls).unwrap();
    thread::spawn(move || elsewhere.accept().map(drop));
    fs::remove_file(authority.kept().join("certificate.pem")).unwrap();
    let text = fs::read_to_string(authority.keys.folder().join("millpond.toml")).unwrap();
    let moved = text.replace(&authority.tls.to_string(), "127.0.0.1:0");
    fs::write(authority.keys.folder().join("millpond.toml"), moved).unwrap();
    server.start_again_where_configured();
    server.wait_for("no certificate of cache.example.test was issued: cache.example.test: ", 1);
}

#[test]
fn clients_push_through_the_certificate_that_was_issued() {
    let Some(authority) = Authority::start(3600, false) else { return };
    let server = authority.serve(&format!("domains = \"{NAME}, 127.0.0.1\""));
    server.wait_for(READ, 1);
    let root = authority.keys.folder().join("root.crt");
    fs::write(&root, pem(&authority.root())).unwrap();
    let runtime = Runtime::new().unwrap();
    let client = crate::tls::Client::connect(&runtime, &authority.tls.to_string(), &root, None);
    let blob = Blob::new(seeded("acme").bytes(1000));
    client.push(&runtime, &blob).unwrap();
    assert!(client.finds(&runtime, &blob).unwrap());
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use data_encoding::BASE64;
    let lines = BASE64.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[test]
fn what_does_not_go_together_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pond.toml");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n";
    let wanted = "domains = \"a.example.org\"\nterms_agreed = true\n";
    for (text, said) in [
        (
            format!("{listener}[acme]\nterms_agreed = true\n"),
            "pond.toml, line 5, terms_agreed: [acme] does not say for which names",
        ),
        (format!("{listener}[acme]\ndomains = \"a.example.org\"\n"), "who does not agree to its terms"),
        (format!("{listener}[acme]\ndomains = \"*.example.org\"\n"), "is no host name"),
        (
            format!("{listener}[identity]\ncertificate = \"a\"\nkey = \"b\"\n[acme]\n{wanted}"),
            "there can be no other",
        ),
        (format!("{listener}[acme]\n{wanted}challenge = \"http-01\"\n"), "the authority looks at port 80"),
        (format!("{listener}[acme]\n{wanted}challenge = \"dns-01\"\n"), "is no challenge that is met here"),
        (format!("{listener}[acme]\n{wanted}http_address = \"[::]:80\"\n"), "tls-alpn-01 needs no address"),
        (format!("{listener}[acme]\n{wanted}account_id = \"x\"\n"), "of account_id and account_key_file"),
        (
            format!("{listener}[acme]\n{wanted}directory = \"http://acme.example.org\"\n"),
            "it must begin with https://",
        ),
    ] {
        fs::write(&file, &text).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_millpond"))
            .args(["config", "check"])
            .arg(&file)
            .output()
            .unwrap();
        let complaint = String::from_utf8(checked.stderr).unwrap();
        assert!(checked.status.code() == Some(2) && complaint.contains(said), "{said}: {complaint}");
        assert!(complaint.contains("pond.toml"), "{complaint}");
    }
    fs::write(&file, format!("{listener}[acme]\n{wanted}")).unwrap();
    for words in [vec!["config", "check"], vec!["config", "show", "--config"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_millpond")).args(words).arg(&file).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
