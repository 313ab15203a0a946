//! Another server, as `millpond copy` and `millpond verify` are given it, and which names of it are meant.
//!
//! Files are read here, as whoever asks, and not by the server, which may be another user's or on another machine.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use millpond_proto::admin::OtherServer;

use crate::exit::{Code, Failure};
use crate::size::Size;

/// Names that are asked for in one question, and bytes of them: what a message takes.
const NAMES_AT_ONCE: usize = 10_000;
const BYTES_AT_ONCE: usize = 2 << 20;

/// The other server, and which names are meant.
#[derive(Debug, clap::Args)]
pub(super) struct OtherFlags {
    /// The other server, as http://HOST:PORT, or grpcs://HOST:PORT for TLS
    url: String,
    /// Names, as PROJECT/ELEMENT/KEY, source:KEY, action:HASH/SIZE or a URI
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Names in this file too, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// With the artifacts that these were built with, and what those were, each by its name (BuildStream 2)
    #[arg(long)]
    pub(super) with_dependencies: bool,
    /// The instance of the other server; '' is the one without a name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    instance: String,
    /// The instance here; '' is the one without a name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(super) to_instance: String,
    /// Read at most so much a second of the other server, as in 20MB
    #[arg(long, value_name = "SIZE")]
    rate: Option<Size>,
    /// Take the server's certificate if one of these in PEM vouches for it [default: whom the machine of this server trusts]
    #[arg(long, visible_alias = "ca", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Show the other server this certificate, in PEM
    #[arg(long, visible_alias = "cert", value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key of --client-cert, in PEM
    #[arg(long, visible_alias = "key", value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Show the other server the token in this file with each call
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl OtherFlags {
    /// The server, with what the files hold.
    pub(super) fn server(&self) -> Result<OtherServer, Failure> {
        let pem = |flag, path: &Option<PathBuf>| match path {
            Some(path) => {
                let bytes = read(flag, path)?;
                if bytes.is_empty() {
                    let sentence = format!("{flag}: {} is empty", path.display());
                    return Err(Failure::new(Code::Usage, sentence, "name a file with PEM in it"));
                }
                Ok(bytes)
            }
            None => Ok(Vec::new()),
        };
        let token = match &self.token_file {
            Some(path) => String::from_utf8_lossy(&read("--token-file", path)?).trim().to_owned(),
            None => String::new(),
        };
        if self.token_file.is_some() && token.is_empty() {
            let sentence = "the file of --token-file holds no token";
            return Err(Failure::new(
                Code::Usage,
                sentence,
                "one line is wanted, as `millpond tokens issue` prints it",
            ));
        }
        Ok(OtherServer {
            url: self.url.clone(),
            instance: self.instance.clone(),
            ca_pem: pem("--ca-cert", &self.ca_cert)?.into(),
            certificate_pem: pem("--client-cert", &self.client_cert)?.into(),
            key_pem: pem("--client-key", &self.client_key)?.into(),
            token,
            bytes_a_second: self.rate.map_or(0, |rate| rate.0.max(1)),
        })
    }

    /// The names that were given, in as many parts as there are to be questions; none if none were.
    pub(super) fn names(&self) -> Result<Vec<Vec<String>>, Failure> {
        let mut names = self.names.clone();
        if let Some(path) = &self.from_file {
            let text = String::from_utf8(read("--from-file", path)?).map_err(|_| {
                let sentence = format!("--from-file: {} is no text in UTF-8", path.display());
                Failure::new(Code::Usage, sentence, "write one name a line")
            })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            names.extend(lines.map(str::to_owned));
            if names.is_empty() {
                let sentence = format!("--from-file: there are no names in {}", path.display());
                return Err(Failure::new(Code::Usage, sentence, "write one name a line"));
            }
        }
        Ok(parts(names))
    }
}

fn parts(names: Vec<String>) -> Vec<Vec<String>> {
    let (mut parts, mut bytes) = (Vec::<Vec<String>>::new(), 0);
    for name in names {
        bytes += name.len();
        match parts.last_mut() {
            Some(part) if part.len() < NAMES_AT_ONCE && bytes <= BYTES_AT_ONCE => part.push(name),
            _ => {
                bytes = name.len();
                parts.push(vec![name]);
            }
        }
    }
    parts
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    read.map_err(|error| {
        let sentence = format!("{flag}: {} cannot be read: {error}", path.display());
        Failure::new(Code::Usage, sentence, "name a file that this user may read")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_for_in_parts_that_messages_take() {
        let counts = |names: Vec<String>| parts(names).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(counts(Vec::new()), [0; 0]);
        assert_eq!(counts(vec!["a".into(); NAMES_AT_ONCE + 1]), [NAMES_AT_ONCE, 1]);
        assert_eq!(counts(vec!["a".repeat(BYTES_AT_ONCE / 2); 3]), [2, 1]);
        assert_eq!(counts(vec!["a".repeat(BYTES_AT_ONCE * 2); 2]), [1, 1]);
    }
}
