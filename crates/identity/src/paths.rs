//! Where what lies in the directory of keys.

use std::path::{Path, PathBuf};

/// A directory of keys, which need not be there yet.
#[derive(Clone, Debug)]
pub struct Keys {
    folder: PathBuf,
    /// What names it on the command line.
    flag: String,
}

impl Keys {
    /// The directory at this path.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), flag: String::new() }
    }

    /// The same, which commands find by this flag with its value, or without any if it is empty.
    pub fn found_by(self, flag: String) -> Self {
        Self { flag, ..self }
    }

    /// A command for whoever has these keys, such as `millpond keys list`: all of it but the flag that names the directory.
    pub fn command(&self, command: &str) -> String {
        let space = if self.flag.is_empty() { "" } else { " " };
        format!("millpond {command}{space}{}", self.flag)
    }

    /// Itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate that clients know the server by.
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The key that certificates are issued with.
    pub fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The server's certificate, with those that it was issued by where clients need them.
    pub fn server_certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// Who may do what.
    pub fn register(&self) -> PathBuf {
        self.folder.join("identities.json")
    }

    /// Held by whoever changes something.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// The folder of a client's key and certificate.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        self.folder.join("clients").join(name)
    }

    /// A client's certificate.
    pub fn client_certificate(&self, name: &str) -> PathBuf {
        self.client(name).join("client.crt")
    }

    /// A client's key.
    pub fn client_key(&self, name: &str) -> PathBuf {
        self.client(name).join("client.key")
    }
}
