//! What `millpond setup` writes and says: a configuration with BuildStream's two ports, and how to go on.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::Path;

use millpond_cache::{Grant, Rights};
use millpond_identity::day;

use super::SetUp;
use crate::bind;
use crate::command::hand_over::HandOver;
use crate::config::{PORT, PUSH_PORT, quoted};
use crate::exit::{Code, Failure};

/// The two ports of BuildStream's convention.
pub(super) fn configuration(keys: &Path, data: &Path) -> Result<String, Failure> {
    let text = |path: &Path| match path.to_str() {
        Some(text) => Ok(quoted(text)),
        None => {
            let sentence = format!("{} cannot stand in a configuration, which is UTF-8", path.display());
            Err(Failure::new(Code::Usage, sentence, "give a directory with another name"))
        }
    };
    let everywhere = bind::everywhere();
    let address = |port| SocketAddr::new(everywhere, port);
    Ok(format!(
        "# Made by `millpond setup`, and yours to change: `millpond config init` prints every setting there is.

[store]
data = {}

[identity]
keys = {}

# Everybody may pull here, and nobody push. ([::] is every address of the machine, IPv4 as well.)
[[listener]]
address = \"{}\"
tls = true
allow = \"pull\"
anonymous = \"pull\"

# Holders of keys and tokens pull and push here, as each was granted.
[[listener]]
address = \"{}\"
tls = true
allow = \"push\"
anonymous = \"none\"
",
        text(data)?,
        text(keys)?,
        address(PORT),
        address(PUSH_PORT)
    ))
}

impl SetUp {
    /// The port of the first listener with TLS where clients may do as much.
    fn port(&self, enough: impl Fn(Rights, Rights) -> bool) -> Option<u16> {
        let mut with_tls = self.settings.listeners.iter().filter(|listener| listener.tls.value);
        let found = with_tls.find(|listener| enough(listener.bounds().most, listener.bounds().anonymous));
        found.map(|listener| listener.address.port())
    }
}

impl Display for SetUp {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self { keys, server, settings, .. } = self;
        let elsewhere = settings.certified_elsewhere();
        writeln!(to, "set up: {}", self.config.display())?;
        writeln!(to, "keys in {}:", keys.folder().display())?;
        writeln!(
            to,
            "  ca.crt, ca.key          what clients know the server by, and certificates are issued with"
        )?;
        let (names, until) = (server.names.join(", "), day(server.not_after));
        let unused =
            if elsewhere.is_some() { "; not used, since the configuration names another" } else { "" };
        writeln!(to, "  server.crt, server.key  for {names}, valid until {until}{unused}")?;
        writeln!(to, "keep ca.key to yourself; ca.crt is for every client")?;

        let pull = Grant { rights: Rights::Pull, instances: Vec::new(), names: Vec::new() };
        if let Some(port) = self.port(|_, anonymous| anonymous >= Rights::Pull) {
            let lines = HandOver::of_anybody(keys, &pull, port).with_certificate_for(elsewhere.clone());
            writeln!(
                to,
                "\neverybody who pulls is configured with this, and the path of their copy of ca.crt:\n\n{lines}"
            )?;
        }
        let push = Grant { rights: Rights::Push, ..pull };
        let port = self.port(|most, _| most >= Rights::Push);
        if let (Some((name, until)), Some(port)) = (&self.pusher, port) {
            let files =
                [keys.client_certificate(name), keys.client_key(name)].map(|path| path.display().to_string());
            let lines =
                HandOver::of_certificate(keys, &push, port, name).with_certificate_for(elsewhere.clone());
            writeln!(
                to,
                "{name} pushes, until {}, with these and ca.crt:\n  {}",
                day(*until),
                files.join("\n  ")
            )?;
            writeln!(to, "and is configured with this, and the paths of the copies:\n\n{lines}")?;
        }
        // By its configuration: it says at which ports they connect.
        writeln!(to, "for others: millpond keys issue NAME --push --config {}", self.config.display())
    }
}
