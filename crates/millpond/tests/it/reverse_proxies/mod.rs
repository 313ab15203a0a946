//! The recipes of `deploy/nginx` and `deploy/haproxy`: real proxies between real clients and the program. Clients come from
//! 127.0.0.2, and proxies from 127.0.0.1.

mod recipe;
mod relay;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Request};

use self::recipe::{Proxy, Recipe, free_address};
use self::relay::Relay;
use crate::battery::{Blob, Client as Calls, Random};
use crate::bst::{Client, Settings, Version};
use crate::company::Company;
use crate::issued::Keys;
use crate::project::Project;
use crate::server::Server;
use crate::tls;
use crate::tree;

const NGINX_PASSES: Recipe = Recipe("nginx/tls-passed-through.conf");
const NGINX_ENDS: Recipe = Recipe("nginx/tls-ended.conf");
const HAPROXY_PASSES: Recipe = Recipe("haproxy/tls-passed-through.cfg");
const HAPROXY_ENDS: Recipe = Recipe("haproxy/tls-ended.cfg");

/// More than any buffer on the way holds.
const LARGE: u64 = 48 << 20;
/// How long a server that came back may seem to be away.
const BACK: Duration = Duration::from_secs(10);

/// A server behind a proxy, and alice, who may push.
struct Scene {
    keys: Keys,
    server: Server,
    relay: Relay,
    proxy: Proxy,
    runtime: Runtime,
}

impl Scene {
    fn new(recipe: Recipe) -> Option<Self> {
        let keys = Keys::new();
        keys.run(&["keys", "issue", "alice", "--push"]);
        let address = free_address();
        let proxy = Proxy::start(recipe, address, &keys)?;
        let identity = format!("[identity]\nkeys = \"{}\"\n", keys.path().display());
        let file = keys.folder().join("millpond.toml");
        fs::write(&file, identity + &recipe.listener(address)).unwrap();
        let server = Server::start_where_configured(&["--config", file.to_str().unwrap()]);
        let relay = Relay::to(proxy.address());
        let scene = Self { keys, server, relay, proxy, runtime: Runtime::new().unwrap() };
        scene.wait_for_the_proxy(Instant::now() + BACK);
        Some(scene)
    }

    fn url(&self) -> String {
        format!("https://{}", self.relay.address())
    }

    /// A connection of somebody with such files, or with none.
    fn connect(&self, shown: Option<&str>) -> Channel {
        let shown = shown.map(|who| match who {
            "stranger" => ["crt", "key"].map(|file| self.keys.folder().join(format!("{who}.{file}"))),
            _ => self.keys.client(who),
        });
        let address = self.relay.address().to_string();
        tls::Client::connect(&self.runtime, &address, &self.keys.ca(), shown).channel()
    }

    /// What a push comes to, with these headers.
    fn push(&self, channel: &Channel, headers: &[(&'static str, String)]) -> Code {
        let mut request = Request::new(Blob::new(&b"pushed"[..]).update());
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let mut cas = ContentAddressableStorageClient::new(channel.clone());
        let answer = self.runtime.block_on(cas.batch_update_blobs(request));
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Until a call gets through.
    fn wait_for_the_proxy(&self, deadline: Instant) {
        loop {
            let channel = self.try_connect();
            let answer = channel.map(|channel| self.push(&channel, &[]));
            if answer == Some(Code::PermissionDenied) {
                return;
            }
            assert!(Instant::now() < deadline, "the proxy reaches nobody: {answer:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_connect(&self) -> Option<Channel> {
        let address = self.relay.address().to_string();
        tls::Client::try_connect(&self.runtime, &address, &self.keys.ca(), None)
            .ok()
            .map(|client| client.channel())
    }

    /// Who did what from where, by the audit log.
    fn audit(&self) -> Vec<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.args(["audit", "--json", "--data"]).arg(self.server.data());
        let printed = command.arg("--keys").arg(self.keys.path()).output().unwrap().stdout;
        let printed = String::from_utf8(printed).unwrap();
        let entries = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let published = entries.filter(|entry| entry["what"] == "published");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        published.map(|entry| format!("{} {}", text(&entry["who"]), text(&entry["address"]))).collect()
    }

    /// Nobody but clients was seen, and nothing went wrong.
    fn assert_quiet(&self) {
        let log = self.server.log();
        for words in ["address=127.0.0.1", "address=198.51.100.", "no header of the PROXY"] {
            assert!(!log.contains(words), "{words}");
        }
        // A check of HAProxy's own, which breaks off as soon as it has shaken hands, may be seen as a failed one.
        let failed =
            log.lines().find(|line| line.contains("handshake failed") && !line.contains("peer=127.0.0.1:"));
        assert_eq!(failed, None);
        assert!(!self.proxy.log().contains("temporary file"), "something lay on the proxy's disk");
    }
}

fn pushed_and_pulled(recipe: Recipe, number: &'static str, elements: &[&str]) {
    let Some(version) = Version::find(number) else { return };
    let Some(scene) = Scene::new(recipe) else { return };
    let files = elements.iter().map(|element| format!("{element}.bst")).collect::<Vec<_>>();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let project = Project::new(version.generation(), "proxies");
    let alice = scene.keys.of("alice");
    let builder = Client::with_auth(version, &scene.url(), Settings::pushing(), &alice);
    builder.succeed(&project, &[&["build"], &files[..]].concat());

    project.take_sources_away();
    let user = Client::with_auth(version, &scene.url(), Settings::default(), &scene.keys.server());
    user.pull(&project, &files);
    for element in elements {
        let out = user.check_out(&project, &format!("{element}.bst"));
        tree::assert_same(&project.tree(element), &out.join(element));
    }
    let published = scene.audit();
    assert!(!published.is_empty() && published.iter().all(|who| who == "alice 127.0.0.2"), "{published:?}");
    scene.assert_quiet();
}

#[test]
fn bst_2_8_1_pushes_and_pulls_through_nginx_that_passes_tls() {
    pushed_and_pulled(NGINX_PASSES, "2.8.1", &["small"]);
}

#[test]
fn bst_2_8_1_pushes_and_pulls_through_nginx_that_ends_tls() {
    pushed_and_pulled(NGINX_ENDS, "2.8.1", &["small", "large"]);
}

#[test]
fn bst_2_8_1_pushes_and_pulls_through_haproxy_that_passes_tls() {
    pushed_and_pulled(HAPROXY_PASSES, "2.8.1", &["small"]);
}

#[test]
fn bst_2_8_1_pushes_and_pulls_through_haproxy_that_ends_tls() {
    pushed_and_pulled(HAPROXY_ENDS, "2.8.1", &["small", "large"]);
}

#[test]
fn bst_1_6_9_pushes_and_pulls_through_nginx_that_ends_tls() {
    pushed_and_pulled(NGINX_ENDS, "1.6.9", &["small"]);
}

#[test]
fn bst_1_6_9_pushes_and_pulls_through_haproxy_that_ends_tls() {
    pushed_and_pulled(HAPROXY_ENDS, "1.6.9", &["small"]);
}

/// Whoever shows nothing is nobody, whatever they write; large blobs go through; and a server that is started again is found
/// again.
fn everybody_is_who_they_are(recipe: Recipe) {
    let Some(mut scene) = Scene::new(recipe) else { return };
    Company::new(scene.keys.folder(), "other").stranger("stranger", "alice");
    let alice = scene.connect(Some("alice"));
    assert_eq!(scene.push(&alice, &[]), Code::Ok);

    let pem = fs::read_to_string(&scene.keys.client("alice")[0]).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let escaped = pem.trim().replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B");
    let nobody = scene.connect(None);
    for certificate in [&base64, &format!(":{base64}:"), &escaped] {
        for headers in [&["x-client-cert"][..], &["x-client-cert", "x-client-cert"], &["x_client_cert"]] {
            let forged = headers.iter().map(|name| (*name, certificate.clone()));
            let from =
                ["x-forwarded-for", "forwarded", "x-real-ip"].map(|name| (name, "198.51.100.7".to_owned()));
            let code = scene.push(&nobody, &forged.chain(from).collect::<Vec<_>>());
            assert_eq!(code, Code::PermissionDenied, "{headers:?}");
        }
    }
    scene.server.wait_for("address=127.0.0.2", 1);
    assert_eq!(scene.push(&scene.connect(Some("stranger")), &[]), Code::Unauthenticated);
    // Connections of others change nothing.
    assert_eq!(scene.push(&alice, &[]), Code::Ok);

    let large = Blob::new(Random::new(7).bytes(LARGE));
    scene.runtime.block_on(async {
        let (mut pusher, mut puller) = (Calls::on(alice.clone()), Calls::on(nobody.clone()));
        pusher.write(&large, 1 << 20, usize::MAX).await.unwrap();
        assert!(puller.read(&large.digest).await.unwrap() == large.content, "it is another");
    });

    scene.server.stop();
    assert_ne!(scene.push(&alice, &[]), Code::Ok);
    scene.server.start_again_where_configured();
    scene.wait_for_the_proxy(Instant::now() + BACK);
    assert_eq!(scene.push(&alice, &[]), Code::Ok);

    scene.keys.run(&["keys", "revoke", "alice"]);
    scene.server.wait_for("identities were read anew", 1);
    assert_eq!(scene.push(&alice, &[]), Code::Unauthenticated);
    scene.assert_quiet();
}

#[test]
fn everybody_is_who_they_are_behind_nginx_that_passes_tls() {
    everybody_is_who_they_are(NGINX_PASSES);
}

#[test]
fn everybody_is_who_they_are_behind_nginx_that_ends_tls() {
    everybody_is_who_they_are(NGINX_ENDS);
}

#[test]
fn everybody_is_who_they_are_behind_haproxy_that_passes_tls() {
    everybody_is_who_they_are(HAPROXY_PASSES);
}

#[test]
fn everybody_is_who_they_are_behind_haproxy_that_ends_tls() {
    everybody_is_who_they_are(HAPROXY_ENDS);
}
