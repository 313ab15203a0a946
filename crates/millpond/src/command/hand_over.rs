//! What whoever uses the cache writes into the configuration of BuildStream.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv6Addr;

use millpond_cache::{Grant, Pattern, Rights};
use millpond_identity::{Keys, ServerKeys};

/// What a client shows.
#[derive(Clone, Copy, Debug)]
enum Shown<'a> {
    /// The certificate of this name.
    Certificate(&'a str),
    Token,
    Nothing,
}

/// Lines to paste for a client with a certificate or a token, or without.
#[derive(Debug)]
pub(super) struct HandOver<'a> {
    keys: &'a Keys,
    grant: &'a Grant,
    /// Of the server.
    port: u16,
    shown: Shown<'a>,
    /// The server's certificate is of somebody else's making, whom clients may know already.
    certified_elsewhere: bool,
    /// The names of that certificate, if they are known.
    hosts: Vec<String>,
}

impl<'a> HandOver<'a> {
    /// For the certificate of this name.
    pub(super) fn of_certificate(keys: &'a Keys, grant: &'a Grant, port: u16, name: &'a str) -> Self {
        Self::showing(keys, grant, port, Shown::Certificate(name))
    }

    /// For a token.
    pub(super) fn of_token(keys: &'a Keys, grant: &'a Grant, port: u16) -> Self {
        Self::showing(keys, grant, port, Shown::Token)
    }

    /// For whoever has neither.
    pub(super) fn of_anybody(keys: &'a Keys, grant: &'a Grant, port: u16) -> Self {
        Self::showing(keys, grant, port, Shown::Nothing)
    }

    fn showing(keys: &'a Keys, grant: &'a Grant, port: u16, shown: Shown<'a>) -> Self {
        Self { keys, grant, port, shown, certified_elsewhere: false, hosts: Vec::new() }
    }

    /// The same, where the server's certificate was made for these names, and not here, if there are any.
    pub(super) fn with_certificate_for(self, elsewhere: Option<Vec<String>>) -> Self {
        let certified_elsewhere = elsewhere.is_some();
        Self { certified_elsewhere, hosts: elsewhere.unwrap_or_default(), ..self }
    }

    /// Where the server is, by the first name of its certificate.
    pub(super) fn url(&self) -> String {
        Self::url_of(self.keys, &self.hosts, self.port)
    }

    /// Where the server is that has these keys, at this port; by the first of these names of its certificate, if there are any.
    pub(super) fn url_of(keys: &Keys, elsewhere: &[String], port: u16) -> String {
        if !elsewhere.is_empty() {
            return url(elsewhere, port);
        }
        let own = ServerKeys::load(keys.folder()).map_or(Vec::new(), |server| server.names);
        url(&own, port)
    }

    /// Keys of the remote with the files that it needs, each line behind this space.
    fn write_files(&self, to: &mut Formatter<'_>, space: &str) -> fmt::Result {
        let ca = self.keys.ca_certificate();
        if self.certified_elsewhere {
            writeln!(
                to,
                "{space}# server-cert: who signed the server's certificate, if this system does not know them"
            )?;
        } else if ca.exists() {
            writeln!(to, "{space}server-cert: {}", ca.display())?;
        }
        match self.shown {
            Shown::Certificate(name) => {
                writeln!(to, "{space}client-cert: {}", self.keys.client_certificate(name).display())?;
                writeln!(to, "{space}client-key: {}", self.keys.client_key(name).display())
            }
            Shown::Token => writeln!(to, "{space}access-token: PATH-OF-THE-FILE-WITH-THE-TOKEN"),
            Shown::Nothing => Ok(()),
        }
    }

    fn write_push(&self, to: &mut Formatter<'_>, space: &str) -> fmt::Result {
        if self.grant.rights >= Rights::Push { writeln!(to, "{space}push: true") } else { Ok(()) }
    }

    /// The one instance that it is for, if it has a name that can be written.
    fn instance(&self) -> Option<String> {
        match self.grant.instances.as_slice() {
            [one] => Some(one.to_string()).filter(|name| !name.contains('*')),
            _ => None,
        }
    }

    fn write_buildstream2(&self, to: &mut Formatter<'_>, url: &str) -> fmt::Result {
        writeln!(to, "# BuildStream 2: ~/.config/buildstream2.conf (or buildstream.conf)")?;
        let sources = covers(&self.grant.names, "source:");
        for section in ["artifacts", "source-caches"].into_iter().take(1 + usize::from(sources)) {
            writeln!(to, "{section}:\n  servers:\n  - url: {url}")?;
            if let Some(instance) = self.instance() {
                writeln!(to, "    instance-name: {instance}")?;
            }
            self.write_push(to, "    ")?;
            // A key without a value is none that BuildStream takes.
            if self.certified_elsewhere && matches!(self.shown, Shown::Nothing) {
                continue;
            }
            writeln!(to, "    auth:")?;
            self.write_files(to, "      ")?;
        }
        if sources {
            return Ok(());
        }
        writeln!(
            to,
            "# no source-caches: sources belong to no project; --name 'source:*' would grant them too"
        )
    }

    fn write_buildstream1(&self, to: &mut Formatter<'_>, url: &str) -> fmt::Result {
        writeln!(to, "# BuildStream 1: ~/.config/buildstream1.conf (before 1.6: buildstream.conf)")?;
        writeln!(to, "artifacts:\n  url: {url}")?;
        self.write_push(to, "  ")?;
        self.write_files(to, "  ")
    }
}

/// Of a server whose certificate has these names.
fn url(names: &[String], port: u16) -> String {
    let host = names.iter().find(|name| !name.starts_with('*')).map_or("HOST", String::as_str);
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    }
}

/// Whether patterns let names of this beginning through.
fn covers(patterns: &[Pattern], beginning: &str) -> bool {
    let begins = |pattern: &Pattern| {
        let pattern = pattern.to_string();
        let fixed = pattern.split('*').next().unwrap_or_default();
        fixed.starts_with(beginning) || (pattern.contains('*') && beginning.starts_with(fixed))
    };
    patterns.is_empty() || patterns.iter().any(begins)
}

impl Display for HandOver<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let url = self.url();
        self.write_buildstream2(to, &url)?;
        if matches!(self.shown, Shown::Token) {
            writeln!(
                to,
                "\n(BuildStream takes tokens from 2.3 on; whoever has an older one needs a certificate)"
            )
        } else if self.grant.instances.is_empty() {
            writeln!(to)?;
            self.write_buildstream1(to, &url)
        } else {
            writeln!(to, "\n(BuildStream 1 cannot name an instance)")
        }
    }
}
