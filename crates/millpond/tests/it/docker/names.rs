//! Names of hosts are looked up in an image that has nothing but the program: in its hosts file, and by DNS.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::engine::{Container, Volume, docker, image, new_name};
use crate::issuer::{Issuer, Key};

const GRANT: &str = "[[issuer.grant]]\nclaims = { project_path = \"team/app\" }\nallow = \"push\"\n";

/// The issuer listens on loopback, so the container shares the machine's network, with a hosts file of its own.
#[test]
fn issuer_is_found_by_the_hosts_file_and_its_keys_are_fetched() {
    let Some(image) = image() else { return };
    let issuer = Issuer::start(&[&Key::ecdsa("e")]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (path, configuration) = (folder.path().display(), issuer.configuration("", GRANT));
    let authority = configuration.lines().find_map(|line| line.strip_prefix("ca = ")).unwrap();
    fs::copy(authority.trim_matches('"'), folder.path().join("ca.crt")).unwrap();
    let keys_at = format!("{}/keys", issuer.url().replace("127.0.0.1", "localhost"));
    let configuration = configuration.replace(authority, &format!("\"ca.crt\"\njwks_url = \"{keys_at}\""));
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    fs::write(folder.path().join("millpond.toml"), format!("{configuration}{listener}")).unwrap();

    let volume = format!("--volume={path}:/config:ro");
    let flags = ["--read-only", "--network=host", "--env=MILLPOND__METRICS__ADDRESS=off", &volume];
    let container = Container::start(&image, &flags, &["serve", "--config", "/config/millpond.toml"]);
    container.ready();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !container.log().contains("the keys of an issuer were fetched") {
        assert!(std::time::Instant::now() < deadline, "its keys were not fetched");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(issuer.fetches(), 1);
}

/// A network of the engine's.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(words) = docker(&["network", "rm", &self.0]) {
            eprintln!("{words}");
        }
    }
}

/// On such a network the engine's own DNS server answers for containers.
#[test]
fn other_container_is_found_by_dns() {
    let Some(image) = image() else { return };
    let network = Network(new_name());
    docker(&["network", "create", &network.0]).unwrap();
    let keys = Volume::new();
    let (on, volume) = (format!("--network={}", network.0), format!("--volume={}:/keys", keys.0));
    let flags = [on.as_str(), &volume, "--network-alias=pond.test", "--env=MILLPOND_DOMAIN=pond.test"];
    let server = Container::start(&image, &flags, &[]);
    server.ready();
    let bench = |host: &str| {
        let against = format!("https://{host}:11002");
        let client =
            "--client-cert /keys/clients/pusher/client.crt --client-key /keys/clients/pusher/client.key";
        let words: Vec<_> = ["bench", "--against", &against, "--ca-cert", "/keys/ca.crt"]
            .into_iter()
            .chain(client.split(' '))
            .chain("--rows connect --count 3 --connections 1".split(' '))
            .collect();
        docker(&[&["run", "--rm", "--read-only", &on, &volume, &image], &words[..]].concat())
    };
    bench("pond.test").unwrap();
    let said = bench("elsewhere.test").unwrap_err();
    assert!(said.contains("lookup"), "{said}");
}
