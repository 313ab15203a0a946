//! Keys and tokens as `millpond` issues them, and a server that knows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::server::Server;

/// A server's keys.
pub(crate) struct Keys {
    folder: TempDir,
}

impl Keys {
    /// Those of a server that clients reach at 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same, made with more arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let keys = Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        keys.run(&[&["keys", "init", "127.0.0.1"], arguments].concat());
        keys
    }

    /// A folder beside what is private, for what else a test writes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where they are.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Runs a command that succeeds, on these keys; what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_millpond"))
            .args(arguments)
            .arg("--keys")
            .arg(self.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What clients know the server by.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path().join("ca.crt")
    }

    /// Certificate and key of a client that was issued them.
    pub(crate) fn client(&self, name: &str) -> [PathBuf; 2] {
        ["client.crt", "client.key"].map(|file| self.path().join("clients").join(name).join(file))
    }

    /// Issues a token, into a file.
    pub(crate) fn token_file(&self, name: &str, rights: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, self.run(&["tokens", "issue", name, rights])).unwrap();
        file
    }

    /// A server that presents them, on one port where everybody may pull.
    pub(crate) fn serve(&self) -> Server {
        Server::start_with(&["--tls", "--keys", self.path().to_str().unwrap()])
    }
}
