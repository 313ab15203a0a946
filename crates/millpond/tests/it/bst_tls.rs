//! Real clients through TLS: keys, tokens and nothing at all, on one port and on two.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::bst::{Auth, Client, Settings, Version};
use crate::issued::Keys;
use crate::project::Project;
use crate::server::Server;
use crate::tree;

impl Keys {
    /// What a client needs to trust the server.
    pub(crate) fn server(&self) -> Auth {
        Auth::default().with("server-cert", self.ca())
    }

    /// What somebody has who was issued a key.
    pub(crate) fn of(&self, name: &str) -> Auth {
        let [cert, key] = self.client(name);
        self.server().with("client-key", key).with("client-cert", cert)
    }

    /// What somebody has who was issued a token.
    fn token(&self, name: &str, rights: &str) -> Auth {
        self.server().with("access-token", self.token_file(name, rights))
    }
}

fn pushed_and_pulled(number: &'static str, pusher: impl Fn(&Keys) -> Auth) {
    let Some(version) = Version::find(number) else { return };
    let keys = Keys::new();
    let pusher = pusher(&keys);
    let server = keys.serve();
    let project = Project::new(version.generation(), "tls");
    let builder = Client::with_auth(version, server.url(), Settings::pushing(), &pusher);
    builder.succeed(&project, &["build", "small.bst"]);

    project.take_sources_away();
    let user = Client::with_auth(version, server.url(), Settings::default(), &keys.server());
    user.pull(&project, &["small.bst"]);
    tree::assert_same(&project.tree("small"), &user.check_out(&project, "small.bst").join("small"));
}

fn alice(keys: &Keys) -> Auth {
    keys.run(&["keys", "issue", "alice", "--push"]);
    keys.of("alice")
}

#[test]
fn holder_of_a_key_pushes_and_everybody_pulls_with_2_8_1() {
    pushed_and_pulled("2.8.1", alice);
}

#[test]
fn holder_of_a_key_pushes_and_everybody_pulls_with_2_0_1() {
    pushed_and_pulled("2.0.1", alice);
}

#[test]
fn holder_of_a_key_pushes_and_everybody_pulls_with_1_6_9() {
    pushed_and_pulled("1.6.9", alice);
}

#[test]
fn holder_of_a_key_pushes_and_everybody_pulls_with_1_2_8() {
    pushed_and_pulled("1.2.8", alice);
}

#[test]
fn holder_of_a_token_pushes_and_everybody_pulls_with_2_8_1() {
    pushed_and_pulled("2.8.1", |keys| keys.token("ci", "--push"));
}

#[test]
fn whoever_may_only_pull_is_told_why_and_still_pulls_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let keys = Keys::new();
    let alice = alice(&keys);
    keys.run(&["keys", "issue", "bob", "--pull"]);
    let server = keys.serve();
    let project = Project::new(version.generation(), "refused");
    let build = |auth: &Auth| {
        Client::with_auth(version, server.url(), Settings::pushing(), auth)
            .run(&project, &["artifact", "push", "small.bst"])
            .expect_failure()
    };
    let anonymous = Client::with_auth(version, server.url(), Settings::pushing(), &keys.server());
    let said = anonymous.succeed(&project, &["build", "small.bst"]);
    assert!(said.contains("need a credential"), "{said}");
    let said = build(&keys.of("bob"));
    assert!(said.contains("bob may not push"), "{said}");
    let empty = keys.folder().join("empty");
    fs::write(&empty, "").unwrap();
    let said = build(&keys.server().with("access-token", &empty));
    assert!(said.contains("token"), "{said}");

    let client = Client::with_auth(version, server.url(), Settings::pushing(), &alice);
    client.succeed(&project, &["build", "small.bst"]);
    project.take_sources_away();
    let bob = Client::with_auth(version, server.url(), Settings::default(), &keys.of("bob"));
    bob.pull(&project, &["small.bst"]);
}

/// A key that is revoked counts no more, on a server that runs and on connections that are open.
#[test]
fn revoked_key_is_refused_at_once_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let keys = Keys::new();
    let alice = alice(&keys);
    let server = keys.serve();
    let project = Project::new(version.generation(), "revoked");
    let client = Client::with_auth(version, server.url(), Settings::pushing(), &alice);
    client.succeed(&project, &["build", "small.bst"]);
    keys.run(&["keys", "revoke", "alice"]);
    server.wait_for("identities were read anew", 1);
    client.wipe();
    let said = client.run(&project, &["artifact", "pull", "small.bst"]).expect_failure();
    assert!(said.contains("revoked"), "{said}");
}

/// BuildStream's own documented way: two ports, and a file of certificates that openssl made.
#[test]
fn authorized_file_and_two_ports_serve_1_6_9() {
    let Some(version) = Version::find("1.6.9") else { return };
    let keys = Keys::new();
    let folder = keys.folder();
    let make = Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:4096", "-x509", "-sha256", "-days", "3650", "-nodes", "-batch"])
        .args(["-subj", "/CN=carol", "-out", "client.crt", "-keyout", "client.key"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    let carol = (keys.server())
        .with("client-key", folder.join("client.key"))
        .with("client-cert", folder.join("client.crt"));
    let configuration = folder.join("millpond.toml");
    let text = "[identity]\nauthorized = \"authorized.crt\"\nkeys = \"keys\"\n";
    fs::write(&configuration, text).unwrap();
    fs::write(folder.join("authorized.crt"), "").unwrap();
    let server = Server::start_with(&["--tls", "--config", configuration.to_str().unwrap()]);
    let project = Project::new(version.generation(), "authorized");

    // Somebody who is not in the file, and then is.
    let client = Client::with_auth(version, server.url(), Settings::pushing(), &carol);
    let said = client.run(&project, &["build", "small.bst"]);
    drop(said);
    append(&folder.join("client.crt"), &folder.join("authorized.crt"));
    server.wait_for("identities were read anew", 1);
    client.wipe();
    client.succeed(&project, &["build", "small.bst"]);
    let output = client.push(&project, &["small.bst"]);
    assert!(!output.contains("Pushed artifact"), "the build had not pushed:\n{output}");
    project.take_sources_away();
    let user = Client::with_auth(version, server.url(), Settings::default(), &keys.server());
    user.pull(&project, &["small.bst"]);
}

fn append(from: &Path, to: &Path) {
    let mut text = fs::read(to).unwrap();
    text.extend(fs::read(from).unwrap());
    // A change within the same moment has another length.
    fs::write(to, text).unwrap();
}

/// A renewed certificate is presented to those who connect from then on, and nobody is cut off.
#[test]
fn certificate_is_renewed_without_a_restart() {
    let keys = Keys::new();
    let server = keys.serve();
    let address = server.url().trim_start_matches("https://").to_owned();
    let serial = || {
        let shown = Command::new("sh")
            .args(["-c", "openssl s_client -connect $0 </dev/null 2>/dev/null | openssl x509 -noout -serial"])
            .arg(&address)
            .output()
            .unwrap();
        String::from_utf8(shown.stdout).unwrap()
    };
    let before = serial();
    assert!(before.starts_with("serial="), "{before}");
    keys.run(&["keys", "renew", "server"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while serial() == before {
        assert!(Instant::now() < deadline, "{}", server.log());
        thread::sleep(Duration::from_millis(200));
    }
}

/// TLS before 1.2 is not spoken, and why a handshake failed is in the log.
#[test]
fn old_protocols_are_refused_and_logged() {
    let keys = Keys::new();
    let server = keys.serve();
    let address = server.url().trim_start_matches("https://").to_owned();
    let connect = |version: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, version, "-cipher", "ALL:@SECLEVEL=0"]);
        command.stdin(std::process::Stdio::null()).output().unwrap().status.success()
    };
    assert!(connect("-tls1_2"));
    for version in ["-tls1", "-tls1_1"] {
        assert!(!connect(version), "{version}");
    }
    server.wait_for("the client speaks nothing that is spoken here", 1);
    // Reasons have lines of their own.
    std::net::TcpStream::connect(&address).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    server.wait_for("what came is not TLS", 1);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-verify_return_error", "-no-CAfile", "-no-CApath"]);
    assert!(!command.stdin(std::process::Stdio::null()).output().unwrap().status.success());
    server.wait_for("the client does not know the authority", 1);
}

/// Certificates that somebody else's authority issued, through TLS.
#[test]
fn holder_of_a_company_certificate_pushes_with_2_8_1() {
    let Some(version) = Version::find("2.8.1") else { return };
    let keys = Keys::new();
    let script = "set -eu
        new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $new -days 30 -subj /CN=corp -keyout corp.key -out corp.crt
        openssl req $new -subj /CN=builder -keyout builder.key -out builder.csr
        echo extendedKeyUsage=clientAuth > extensions
        openssl x509 -req -days 30 -extfile extensions -in builder.csr -CA corp.crt -CAkey corp.key -CAcreateserial -out builder.crt";
    let folder = keys.folder();
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let configuration = folder.join("millpond.toml");
    fs::write(
        &configuration,
        "[[authority]]\nname = \"corp\"\ncertificates = \"corp.crt\"\nallow = \"push\"\n",
    )
    .unwrap();
    let keys_path = keys.path();
    let server = Server::start_with(&[
        "--tls",
        "--keys",
        keys_path.to_str().unwrap(),
        "--config",
        configuration.to_str().unwrap(),
    ]);
    let builder = keys
        .server()
        .with("client-key", folder.join("builder.key"))
        .with("client-cert", folder.join("builder.crt"));
    let project = Project::new(version.generation(), "corp");
    let client = Client::with_auth(version, server.url(), Settings::pushing(), &builder);
    client.succeed(&project, &["build", "small.bst"]);
    project.take_sources_away();
    let user = Client::with_auth(version, server.url(), Settings::default(), &keys.server());
    user.pull(&project, &["small.bst"]);
}

/// Long before it is too late, operators read that certificates expire.
#[test]
fn what_expires_is_said_ahead_of_time() {
    let keys = Keys::with(&["--days", "10"]);
    keys.run(&["keys", "issue", "alice", "--push", "--days", "7"]);
    let server =
        Server::start_with(&["--tls", "--keys", keys.path().to_str().unwrap(), "--metrics", "127.0.0.1:0"]);
    server.wait_for("this server's certificate expires on 20", 1);
    server.wait_for("the certificate of alice expires on 20", 1);
    keys.run(&["keys", "renew", "server"]);
    server.wait_for("the server's certificate was read anew", 1);
}
