//! Bazel, as another client of the Remote Execution API: what one has built, the other takes from the cache.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::issued::Keys;
use crate::server::{Server, skip};

/// The second rule's input is the first one's output, which is never the same twice.
const RULES: &str = r#"
genrule(name = "one", outs = ["one.txt"], cmd = "head -c 300000 /dev/urandom | base64 > $@")
genrule(name = "two", srcs = [":one"], outs = ["two.txt"], cmd = "sha256sum < $(SRCS) > $@")
"#;

/// Somebody's Bazel, with a workspace and an output folder of its own; its server ends with it.
struct Bazel {
    home: TempDir,
}

impl Bazel {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let workspace = home.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        fs::write(workspace.join("WORKSPACE"), "workspace(name = \"pond\")").unwrap();
        fs::write(workspace.join("BUILD"), RULES).unwrap();
        Self { home }
    }

    /// Whether it ended well, and what it said.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("bazel")
            .arg(format!("--output_user_root={}", self.home.path().join("root").display()))
            .args(arguments)
            .current_dir(self.home.path().join("workspace"))
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn build(&self, url: &str) -> (String, Vec<u8>) {
        self.build_with(url, &[])
    }

    /// The same with more flags.
    fn build_with(&self, url: &str, flags: &[&str]) -> (String, Vec<u8>) {
        let cache = format!("--remote_cache={}", url.replace("http", "grpc"));
        let (done, said) = self.run(&[&["build", "//:two", &cache], flags].concat());
        assert!(done, "{flags:?}: {said}");
        (said, fs::read(self.home.path().join("workspace/bazel-bin/two.txt")).unwrap())
    }
}

impl Drop for Bazel {
    fn drop(&mut self) {
        let root = self.home.path().join("root");
        let _ = Command::new("bazel")
            .arg(format!("--output_user_root={}", root.display()))
            .arg("shutdown")
            .current_dir(self.home.path().join("workspace"))
            .output();
        // What Bazel makes nobody may write to, its owner included.
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(&root).status();
    }
}

fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join("bazel").exists())
}

#[test]
fn bazel_takes_from_the_cache_what_another_built() {
    if !is_installed() {
        return skip("bazel_takes_from_the_cache_what_another_built: there is no Bazel here");
    }
    let server = Server::start();
    let (said, built) = Bazel::new().build(server.url());
    assert!(!said.contains("remote cache hit"), "{said}");
    let (said, taken) = Bazel::new().build(server.url());
    assert!(said.contains("2 remote cache hit"), "{said}");
    assert_eq!(taken, built);
}

/// What one uploads with a token, the other takes without any. Debian's Bazel ends when it is to speak TLS.
#[test]
fn bazel_pushes_with_a_token_and_pulls_without() {
    if !is_installed() {
        return skip("bazel_pushes_with_a_token_and_pulls_without: there is no Bazel here");
    }
    let keys = Keys::new();
    let token = keys.run(&["tokens", "issue", "ci", "--push"]);
    let path = keys.folder().join("millpond.toml");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = \"pull\"\n";
    fs::write(&path, format!("[identity]\nkeys = \"keys\"\n{listener}")).unwrap();
    let server = Server::start_where_configured(&["--config", path.to_str().unwrap()]);

    // Without a token it wants to be told that it is to pull alone.
    let cache = format!("--remote_cache={}", server.url().replace("http", "grpc"));
    let (done, said) = Bazel::new().run(&["build", "//:two", &cache]);
    assert!(!done && said.contains("not authorized to write local results"), "{said}");
    let header = format!("--remote_header=Authorization=Bearer {}", token.trim());
    let (said, built) = Bazel::new().build_with(server.url(), &[&header]);
    assert!(!said.contains("remote cache hit"), "{said}");
    let (said, taken) = Bazel::new().build_with(server.url(), &["--noremote_upload_local_results"]);
    assert!(said.contains("2 remote cache hit"), "{said}");
    assert_eq!(taken, built);
}
