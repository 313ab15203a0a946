//! Certificates of companies in TLS: whose count, for how long, and what becomes of those who are connected when that ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::battery::Blob;
use crate::company::Company;
use crate::issued::Keys;
use crate::server::Server;
use crate::tls::Client;

/// A server that speaks TLS, where everybody may pull and whoever `corp` vouches for may push.
struct Scene {
    keys: Keys,
    corp: Company,
    runtime: Runtime,
    server: Server,
}

impl Scene {
    /// With these further settings of the authority, and more files that the test makes first.
    fn new(settings: &str, prepare: impl FnOnce(&Company, &Path)) -> Self {
        let keys = Keys::new();
        let corp = Company::new(keys.folder(), "corp");
        prepare(&corp, keys.folder());
        let path = configure(&keys, settings);
        let server = Server::start_where_configured(&["--config", path.to_str().unwrap()]);
        Self { keys, corp, runtime: Runtime::new().unwrap(), server }
    }

    /// Connects with the certificate of `who`.
    fn connect(&self, who: &str) -> Client {
        let address = self.server.url().trim_start_matches("http://");
        let shown = ["crt", "key"].map(|end| self.keys.folder().join(format!("{who}.{end}")));
        Client::connect(&self.runtime, address, &self.keys.ca(), Some(shown))
    }

    /// What a push comes to.
    fn push(&self, client: &Client) -> Result<(), Status> {
        client.push(&self.runtime, &Blob::new(&b"something"[..]))
    }

    /// Waits, on this one connection, until its pushes are refused, and says with which words.
    fn until_refused(&self, client: &Client) -> String {
        let status = self.until("it is refused", || self.push(client).err());
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert_eq!(client.connected(), 1, "it was connected again");
        status.message().to_owned()
    }

    /// Tries until there is something, as long as a server has patience.
    fn until<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: {}", self.server.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn assert_refused(&self, who: &str, words: &str) {
        let status = self.push(&self.connect(who)).expect_err(who);
        assert_eq!(status.code(), Code::Unauthenticated, "{who}: {status}");
        assert!(status.message().contains(words), "{who}: {status}");
    }
}

fn configure(keys: &Keys, settings: &str) -> PathBuf {
    let path = keys.folder().join("millpond.toml");
    let text = format!(
        "[identity]\nkeys = \"keys\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n\
         [[authority]]\nname = \"corp\"\ncertificates = \"corp.crt\"\nallow = \"push\"\n{settings}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// Of two authorities in one file, and as one in DER.
#[test]
fn several_lists_count_and_so_does_one_in_der() {
    for der in [false, true] {
        let revoked = if der { "revoked = \"corp.der\"" } else { "revoked = \"lists.crl\"" };
        let scene = Scene::new(revoked, |corp, folder| {
            let other = Company::new(folder, "other");
            for (company, name) in [(corp, "a"), (&other, "b")] {
                company.issue(&format!("{name}-stays"), name);
                company.issue(&format!("{name}-gone"), name);
                company.revoke(&format!("{name}-gone"));
            }
            corp.run("cat other.crt >> corp.crt; cat other.crl corp.crl > lists.crl");
            corp.run("openssl crl -in corp.crl -outform DER -out corp.der");
        });
        for who in ["a-stays", "b-stays"] {
            scene.push(&scene.connect(who)).unwrap();
        }
        scene.assert_refused("a-gone", "revoked");
        if der {
            scene.push(&scene.connect("b-gone")).unwrap();
        } else {
            scene.assert_refused("b-gone", "revoked");
        }
    }
}

/// Nobody gets back in by that; and what is wrong is said of the line that names the file.
#[test]
fn file_without_a_list_vouches_for_nobody() {
    let scene = Scene::new("revoked = \"corp.crl\"", |corp, _| corp.issue("alice", "alice"));
    let alice = scene.connect("alice");
    scene.push(&alice).unwrap();
    let list = scene.keys.folder().join("corp.crl");
    let whole = fs::read(&list).unwrap();
    for content in [&b""[..], b"words", &whole[..whole.len() / 2], b"\x30\x03\x02\x01\x01"] {
        fs::write(&list, content).unwrap();
        assert!(scene.until_refused(&alice).contains("not known here"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        let said = command.args(["config", "check"]).arg(configure(&scene.keys, "revoked = \"corp.crl\""));
        let said = said.output().unwrap();
        let complaint = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(2), "{complaint}");
        for part in ["millpond.toml, line 10, revoked: ", "corp.crl: ", "list", "\nhint: give lists (CRLs)"] {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
        fs::write(&list, &whole).unwrap();
        scene.until("the list is there again", || scene.push(&alice).ok());
    }
    scene.server.wait_for("without those of a file that cannot be read", 1);
}

#[test]
fn revoked_by_its_name_or_by_its_authority_it_is_refused_on_the_connection_that_it_has() {
    let scene = Scene::new("revoked = \"corp.crl\"", |corp, _| {
        for name in ["alice", "bob", "carol"] {
            corp.issue(name, name);
        }
    });
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| scene.connect(name));
    for client in [&alice, &bob, &carol] {
        scene.push(client).unwrap();
    }
    let said = scene.keys.run(&["tokens", "revoke", "corp:alice"]);
    assert!(said.contains("corp:alice") && said.contains("issued until now"), "{said}");
    assert!(scene.until_refused(&alice).contains("revoked"));
    scene.push(&bob).unwrap();
    scene.corp.revoke("bob");
    assert!(scene.until_refused(&bob).contains("revoked"));
    scene.push(&carol).unwrap();
    assert_eq!(carol.connected(), 1);
    scene.assert_refused("alice", "revoked");
}

#[test]
fn certificate_that_expires_is_refused_on_the_connection_that_it_has() {
    let scene = Scene::new("", |_, _| {});
    let mut lives = [5, 20, 50].into_iter();
    // A slow machine may need longer than the first of them lives.
    let client = loop {
        let seconds = lives.next().expect("it is slower than any certificate lives");
        scene.corp.issue_with(
            "brief",
            "brief",
            "",
            &format!("-startdate 20200101000000Z -enddate $(date -u -d '+{seconds} seconds' +%Y%m%d%H%M%SZ)"),
        );
        let client = scene.connect("brief");
        if scene.push(&client).is_ok() {
            break client;
        }
    };
    assert!(scene.until_refused(&client).contains("expired on"));
}

/// An authority that may issue some host names alone could else call anybody what it likes.
#[test]
fn host_names_are_what_subjects_are_matched_with_where_there_are_any() {
    let scene = Scene::new("subjects = [\"*.build.example.org\"]", |corp, _| {
        let days = "-days 30";
        let hosts = |names: &str| format!("subjectAltName = {names}");
        corp.issue_with("host", "whoever", &hosts("DNS:ci.build.example.org"), days);
        corp.issue_with("second", "x", &hosts("DNS:a.example.org,DNS:b.build.example.org"), days);
        corp.issue_with("none", "ci.build.example.org", "", days);
        corp.issue_with("foreign", "ci.build.example.org", &hosts("DNS:ci.example.com"), days);
        corp.issue_with("mail", "whoever", &hosts("email:x@ci.build.example.org"), days);
    });
    for who in ["host", "second", "none"] {
        scene.push(&scene.connect(who)).unwrap();
    }
    for who in ["foreign", "mail"] {
        scene.assert_refused(who, "not known here");
    }
}
