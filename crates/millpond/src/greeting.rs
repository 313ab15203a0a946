//! What the operator reads once the server answers: where it is, how full it is, and what to paste.
//!
//! **Invariant:** for each listener there is one line `listening on ADDR:PORT`, written after the port is open. Scripts
//! and tests wait for it.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::Path;

use millpond_cache::{Bounds, InstanceKind, Rights};

use crate::config::Instance;
use crate::size::Size;
use crate::span::Span;

/// What is told.
#[derive(Debug)]
pub(crate) struct Greeting<'a> {
    /// The data directory, absolute.
    pub(crate) data: &'a Path,
    /// Bytes in use, everything counted.
    pub(crate) used: Size,
    /// Bytes that may be in use.
    pub(crate) limit: Size,
    /// Bytes that are free on its file system, where that is known.
    pub(crate) free: Option<Size>,
    /// How long what a client was told is there stays.
    pub(crate) lease: Span,
    /// Every push is refused.
    pub(crate) read_only: bool,
    /// Instances beside the empty one, and perhaps that.
    pub(crate) instances: &'a [Instance],
    /// Where clients are served: at least one.
    pub(crate) listeners: &'a [Served],
    /// Where metrics are served.
    pub(crate) metrics: Option<SocketAddr>,
    /// This machine's name, for clients elsewhere.
    pub(crate) host: &'a str,
    /// What clients know the server by, if it was made here: the name in the certificate, and the CA's own, absolute.
    pub(crate) certified: Option<(&'a str, &'a Path)>,
    /// Issuers and authorities who vouch for clients.
    pub(crate) vouching: &'a [String],
}

/// An address where clients are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// As it is, not as it was asked for.
    pub(crate) address: SocketAddr,
    /// TLS is spoken.
    pub(crate) tls: bool,
    /// What clients may do.
    pub(crate) bounds: Bounds,
}

impl Served {
    /// Who may do what, as a part of a sentence.
    fn rights(&self) -> String {
        let Bounds { most, anonymous } = self.bounds;
        let known = |deed| format!("holders of keys and tokens may {deed}");
        match (anonymous, most) {
            (Rights::Nothing, Rights::Nothing | Rights::Pull) => known("pull, and nobody push"),
            (Rights::Nothing, _) => known("pull and push"),
            (Rights::Pull, Rights::Nothing | Rights::Pull) => {
                "everybody may pull, and nobody push".to_owned()
            }
            (Rights::Pull, _) => format!("everybody may pull, {}", known("push")),
            (Rights::Push | Rights::Admin, _) => "everybody may pull and push".to_owned(),
        }
    }

    fn is_as_unconfigured(&self, read_only: bool) -> bool {
        !self.tls && (read_only || self.bounds == Bounds::OPEN)
    }
}

impl Display for Greeting<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "millpond {} keeps everything in {}", env!("CARGO_PKG_VERSION"), self.data.display())?;
        let free = self.free.map_or(String::new(), |free| format!("; {free} free on its file system"));
        writeln!(to, "in use: {} of {} ({}){free}", self.used, self.limit, share(self.used, self.limit))?;
        if self.lease.seconds == 0 {
            writeln!(to, "lease 0s: what a client was told is there may be gone when it asks for it")?;
        }
        if let Some(metrics) = self.metrics {
            writeln!(to, "metrics: http://{metrics}/metrics")?;
        }
        self.write_rights(to)?;
        if !self.vouching.is_empty() {
            writeln!(to, "known are also those for whom these vouch: {}", self.vouching.join(", "))?;
        }
        if let Some(first) = self.listeners.first() {
            self.write_yaml(to, first)?;
        }
        let (empty, named): (Vec<_>, Vec<_>) =
            self.instances.iter().partition(|instance| instance.name.value.is_empty());
        if self.instances.iter().any(|instance| instance.keeps.value.0 != InstanceKind::All) {
            writeln!(to, "what is index-only or storage-only does not promise that a name is whole")?;
        }
        if let Some(empty) = empty.first() {
            writeln!(to, "the empty instance keeps {}", empty.keeps.value)?;
        }
        if !named.is_empty() {
            let names: Vec<_> = named.into_iter().map(name_of).collect();
            writeln!(to, "instances beside the empty one: {}", names.join(", "))?;
            writeln!(
                to,
                "(BuildStream 2 names one by `instance-name: NAME` below its url, BuildStream 1 cannot)\n"
            )?;
        }
        for Served { address, .. } in self.listeners {
            writeln!(to, "listening on {address}")?;
        }
        Ok(())
    }
}

impl Greeting<'_> {
    /// The URL of a listener: by the name that its certificate has, or else one that serves all addresses by this
    /// machine's.
    fn url(&self, served: &Served) -> String {
        let Served { address, tls, .. } = served;
        let port = address.port();
        if !tls && !address.ip().is_unspecified() {
            return format!("http://{address}");
        }
        let scheme = if *tls { "https" } else { "http" };
        match self.certified.filter(|_| *tls).map_or(self.host, |(name, _)| name) {
            name if name.contains(':') => format!("{scheme}://[{name}]:{port}"),
            name => format!("{scheme}://{name}:{port}"),
        }
    }

    fn write_rights(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.listeners.iter().all(|served| served.is_as_unconfigured(self.read_only)) {
            for served in self.listeners {
                let tls = if served.tls { "TLS" } else { "no TLS" };
                writeln!(to, "{} ({tls}): {}", served.address, served.rights())?;
            }
            return Ok(());
        }
        let is_loopback = |served: &Served| served.address.ip().to_canonical().is_loopback();
        let everybody = if self.listeners.iter().all(is_loopback) {
            "everybody on this machine"
        } else {
            "everybody who can reach it, and nothing is encrypted"
        };
        if self.read_only {
            writeln!(to, "read-only: pull is open to {everybody} (no TLS), and every push is refused")
        } else {
            writeln!(to, "pull and push are open to {everybody} (no TLS)")
        }
    }

    /// What the empty instance keeps has a type in BuildStream 2, and none in BuildStream 1.
    fn write_yaml(&self, to: &mut fmt::Formatter<'_>, served: &Served) -> fmt::Result {
        let url = &self.url(served);
        let empty = self.instances.iter().find(|instance| instance.name.value.is_empty());
        let kind = empty.map_or(InstanceKind::All, |empty| empty.keeps.value.0);
        let typed = match kind {
            InstanceKind::All => "",
            InstanceKind::IndexOnly => "\n    type: index",
            InstanceKind::StorageOnly => "\n    type: storage",
        };
        let everybody_pushes = served.bounds.anonymous >= Rights::Push;
        let push = if everybody_pushes { "\n    push: true" } else { "" };
        let authority = self.certified.filter(|_| served.tls).map(|(_, authority)| authority.display());
        let under = |authority| format!("\n    auth:\n      server-cert: {authority}");
        let auth = authority.as_ref().map_or(String::new(), under);
        if served.tls {
            writeln!(
                to,
                "\n# for those who pull; `millpond keys issue NAME --push` prints what those need who push"
            )?;
        }
        if authority.is_some() {
            writeln!(
                to,
                "# a client needs a copy of the file that server-cert names, and its absolute path there"
            )?;
        }
        writeln!(
            to,
            "
# BuildStream 2: ~/.config/buildstream2.conf (or buildstream.conf)
artifacts:
  servers:
  - url: {url}{typed}{push}{auth}
source-caches:
  servers:
  - url: {url}{typed}{push}{auth}
"
        )?;
        if kind != InstanceKind::All {
            return Ok(());
        }
        let push = if everybody_pushes { "\n  push: true" } else { "" };
        let auth = authority.map_or(String::new(), |authority| format!("\n  server-cert: {authority}"));
        writeln!(
            to,
            "\
# BuildStream 1: ~/.config/buildstream1.conf (before 1.6: buildstream.conf)
artifacts:
  url: {url}{push}{auth}
"
        )
    }
}

fn name_of(instance: &Instance) -> String {
    let Instance { name, keeps } = instance;
    match keeps.value.0 {
        InstanceKind::All => name.value.clone(),
        InstanceKind::IndexOnly | InstanceKind::StorageOnly => format!("{} ({})", name.value, keeps.value),
    }
}

/// In whole percent; 0 means empty.
pub(crate) fn share(used: Size, limit: Size) -> String {
    let percent = u128::from(used.0) * 100 / u128::from(limit.0.max(1));
    if percent == 0 && used.0 > 0 { "under 1 %".into() } else { format!("{percent} %") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn greeting(listeners: &[&str]) -> String {
        greeting_of(listeners, "3h", &[])
    }

    fn greeting_of(listeners: &[&str], lease: &str, instances: &[&str]) -> String {
        let instance = |text: &&str| {
            let (name, keeps) = text.split_once(':').unwrap_or((text, "all"));
            Instance {
                name: Given::by_flag("--instance", name.to_owned()),
                keeps: Given::by_flag("--instance", keeps.parse().unwrap()),
            }
        };
        let instances: Vec<_> = instances.iter().map(instance).collect();
        let open =
            |address: &&str| Served { address: address.parse().unwrap(), tls: false, bounds: Bounds::OPEN };
        let listeners: Vec<_> = listeners.iter().map(open).collect();
        Greeting {
            data: Path::new("/srv/pond"),
            used: Size(1_500_000),
            limit: Size(3_000_000_000),
            free: Some(Size(7_000_000_000)),
            lease: lease.parse().unwrap(),
            read_only: false,
            instances: &instances,
            listeners: &listeners,
            metrics: Some("127.0.0.1:9464".parse().unwrap()),
            host: "millhouse",
            certified: None,
            vouching: &[],
        }
        .to_string()
    }

    #[test]
    fn tells_where_how_full_and_what_to_paste() {
        let text = greeting(&["127.0.0.1:11001", "[::1]:11001"]);
        for line in [
            "in use: 1.5 MB of 3.0 GB (under 1 %); 7.0 GB free on its file system",
            "listening on 127.0.0.1:11001",
            "listening on [::1]:11001",
            "metrics: http://127.0.0.1:9464/metrics",
            "  - url: http://127.0.0.1:11001",
            "  url: http://127.0.0.1:11001",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("everybody on this machine"), "{text}");
    }

    #[test]
    fn tls_listener_is_named_as_its_certificate_and_says_who_may_what() {
        let served = |port, most, anonymous| Served {
            address: ([127, 0, 0, 1], port).into(),
            tls: true,
            bounds: Bounds { most, anonymous },
        };
        let listeners = [served(1, Rights::Pull, Rights::Pull), served(2, Rights::Push, Rights::Nothing)];
        let text = Greeting {
            data: Path::new("/srv/pond"),
            used: Size(0),
            limit: Size(1),
            free: None,
            lease: "3h".parse().unwrap(),
            read_only: false,
            instances: &[],
            listeners: &listeners,
            metrics: None,
            host: "millhouse",
            certified: Some(("cache.example.org", Path::new("/srv/keys/ca.crt"))),
            vouching: &["issuer gitlab".into(), "authority corp".into()],
        }
        .to_string();
        for line in [
            "known are also those for whom these vouch: issuer gitlab, authority corp",
            "127.0.0.1:1 (TLS): everybody may pull, and nobody push",
            "127.0.0.1:2 (TLS): holders of keys and tokens may pull and push",
            "  - url: https://cache.example.org:1",
            "      server-cert: /srv/keys/ca.crt",
            "  server-cert: /srv/keys/ca.crt",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("push: true"), "{text}");
    }

    #[test]
    fn no_lease_and_other_instances_are_told() {
        let text = greeting_of(&["[::1]:1"], "0s", &["main", "team/a"]);
        assert!(text.contains("lease 0s: ") && text.contains("one: main, team/a\n"), "{text}");
        assert!(text.contains("`instance-name: NAME`"), "{text}");
        let text = greeting(&["[::1]:1"]);
        assert!(!text.contains("lease") && !text.contains("instance"), "{text}");
    }

    #[test]
    fn split_instances_are_told_and_typed() {
        let text = greeting_of(&["[::1]:1"], "3h", &[":index-only", "main:storage-only"]);
        assert_eq!(text.matches("\n    type: index\n").count(), 2, "{text}");
        assert!(!text.contains("BuildStream 1:") && text.contains("main (storage-only)"), "{text}");
        assert!(text.contains("does not promise that a name is whole"), "{text}");
    }

    #[test]
    fn wildcard_listener_is_named_by_host_and_called_open() {
        let text = greeting(&["[::]:11001"]);
        assert!(text.contains("url: http://millhouse:11001\n"), "{text}");
        assert!(text.contains("everybody who can reach it"), "{text}");
    }
}
