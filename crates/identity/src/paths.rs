//! Where what lies in the directory of keys.

use std::path::{Path, PathBuf};

/// A directory of keys, which need not be there yet.
#[derive(Clone, Debug)]
pub struct Keys(PathBuf);

impl Keys {
    /// The directory at this path.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The certificate that clients know the server by.
    pub fn ca_certificate(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// The key that certificates are issued with.
    pub fn ca_key(&self) -> PathBuf {
        self.0.join("ca.key")
    }

    /// The server's certificate, with those that it was issued by where clients need them.
    pub fn server_certificate(&self) -> PathBuf {
        self.0.join("server.crt")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.0.join("server.key")
    }

    /// Who may do what.
    pub fn register(&self) -> PathBuf {
        self.0.join("identities.json")
    }

    /// Held by whoever changes something.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The folder of a client's key and certificate.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        self.0.join("clients").join(name)
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
