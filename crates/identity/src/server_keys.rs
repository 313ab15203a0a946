//! The server's own certificate and key.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::files::{self, Turn};
use crate::{Error, Fingerprint, Keys, certificate};

/// What a server proves with that it is the one that clients look for.
pub struct ServerKeys {
    /// Its certificate, then those that it was issued by, in PEM.
    pub chain_pem: Vec<u8>,
    /// Its key, in PEM.
    pub key_pem: Vec<u8>,
    /// The host names and addresses that the certificate is for, as they were given.
    pub names: Vec<String>,
    /// The last second in which the certificate is valid, in Unix seconds.
    pub not_after: u64,
}

impl ServerKeys {
    /// Those in `server.crt` and `server.key` of a directory of keys, which belong together even while they are renewed.
    pub fn load(keys: &Path) -> Result<Self, Error> {
        let keys = Keys::at(keys);
        let _turn = Turn::to_read(&keys)?;
        Self::read(&keys)
    }

    /// As [`ServerKeys::load`], for whoever has a turn already.
    pub(crate) fn read(keys: &Keys) -> Result<Self, Error> {
        let path = keys.server_certificate();
        let chain_pem = files::read(&path)?;
        let malformed = |reason: String| Error::malformed(&path, reason);
        let chain = certificate::read_all(&chain_pem).map_err(|error| malformed(error.to_string()))?;
        let own =
            chain.into_iter().next().ok_or_else(|| malformed("there is no certificate in it".into()))?;
        let key_pem = files::read(&keys.server_key())?;
        Ok(Self { chain_pem, key_pem, names: own.hosts, not_after: own.not_after })
    }
}

/// The certificate in `ca.crt` of a directory of keys, which clients know the server by: the file, the SHA-256 of the certificate and
/// the last second in which it is valid, in Unix seconds.
///
/// # Errors
/// That there is none, or that it is none.
pub fn authority_for_clients(keys: &Keys) -> Result<(Vec<u8>, Fingerprint, u64), Error> {
    let path = keys.ca_certificate();
    let pem = match files::read(&path) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Err(Error::unwanted(
                format!("there is no ca.crt in the directory of keys {}", keys.folder().display()),
                format!(
                    "`{}` makes it, with the server's certificate; if keys are elsewhere, give that directory as --keys, or the \
                     configuration of the server as --config",
                    keys.command("keys init NAME")
                ),
            ));
        }
        read => read?,
    };
    let malformed = |reason: String| Error::malformed(&path, reason);
    let all = certificate::read_all(&pem).map_err(|error| malformed(error.to_string()))?;
    let own = all.first().ok_or_else(|| malformed("there is no certificate in it".into()))?;
    Ok((pem, own.sha256, own.not_after))
}

/// What the certificates say that a server presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The host names and addresses that its own is for.
    pub names: Vec<String>,
    /// The first second in which its own is valid, in Unix seconds.
    pub not_before: u64,
    /// The last one.
    pub not_after: u64,
    /// How many certificates there are.
    pub count: usize,
    /// The last second in which all of them are valid, in Unix seconds.
    pub all_until: u64,
}

impl Presented {
    /// From when on, in Unix seconds, it is late to have another in its place: so many seconds before all of them are valid no more, or a
    /// sixth of the time of its own where that is less.
    pub fn late_from(&self, ahead_seconds: u64) -> u64 {
        let sixth = self.not_after.saturating_sub(self.not_before) / 6;
        self.all_until.saturating_sub(sixth.min(ahead_seconds))
    }

    /// Of a chain in PEM, the server's own first.
    ///
    /// # Errors
    /// What is no certificate, or that there is none.
    pub fn read(chain_pem: &[u8]) -> Result<Self, Error> {
        let chain = certificate::read_chain(chain_pem)?;
        let (count, all_until) = (chain.len(), chain.iter().map(|one| one.not_after).min());
        let own = chain.into_iter().next();
        let own = own.ok_or_else(|| Error::Certificates("there is no certificate in it".into()))?;
        let all_until = all_until.unwrap_or(own.not_after);
        Ok(Self { names: own.hosts, not_before: own.not_before, not_after: own.not_after, count, all_until })
    }
}

/// Without the key.
impl fmt::Debug for ServerKeys {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = to.debug_struct("ServerKeys");
        shown.field("names", &self.names).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}
