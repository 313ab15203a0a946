//! What a configuration file may say, and what is said back when it says something else.
//!
//! **Invariant:** a key that is not known is an error at every depth, told with file, line and the nearest known key.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::audit::Keep;
use super::compression::Compression;
use super::fd_name::FdName;
use super::header::Header;
use super::instance::Keeps;
use super::limit::Limit;
use super::lists::{Networks, Patterns};
use super::log_filter::LogFilter;
use super::place::{Given, Place, line_of};
use super::replacement::{By, Else, Names};
use super::retention::{KeptFor, Kind, LetGoAfter, Outcome};
use super::rights::{Allowed, Denied};
use super::scrub::Scrub;
use super::socket::Socket;
use super::{acme, flags, issuer, keys, otlp, usage};
use crate::exit::Failure;
use crate::size::Size;
use crate::span::Span;

/// What a file or the environment says, with what it takes to say where something stands in it.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// What it says.
    pub(crate) file: File,
    source: Source,
    text: String,
}

/// Where a text comes from.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    /// Each line from this variable.
    Variables(Vec<&'static str>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Variables(Vec::new())
    }
}

impl Read {
    /// A value, and the place of its key.
    pub(crate) fn given<T: Clone>(&self, value: &Spanned<T>, key: &'static str) -> Given<T> {
        let line = line_of(&self.text, value.span().start);
        let place = match &self.source {
            Source::File(path) => Place::File { path: path.clone(), line, key },
            Source::Variables(names) => Place::Variable(name_at(names, line)),
        };
        Given { value: value.get_ref().clone(), place }
    }

    /// A path, and the place of its key. A relative one in a file is meant from where the file lies, wherever the server is
    /// started. An empty one is meant by nobody.
    pub(crate) fn given_path(&self, path: &Spanned<PathBuf>, key: &'static str) -> Given<PathBuf> {
        let Given { value, place } = self.given(path, key);
        let folder = self.folder().filter(|_| !value.as_os_str().is_empty());
        Given { value: folder.map_or_else(|| value.clone(), |folder| folder.join(&value)), place }
    }

    /// The folder that relative paths are meant from, if that is not the current one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => path.parent(),
            Source::Variables(_) => None,
        }
    }
}

fn name_at(names: &[&'static str], line: usize) -> &'static str {
    names.get(line.saturating_sub(1)).copied().unwrap_or("the environment")
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// Where and how much is kept.
    pub(crate) store: Store,
    /// Where clients are served, one table each.
    pub(crate) listener: Vec<Listener>,
    /// Instance names beside the empty one, one table each.
    pub(crate) instance: Vec<Instance>,
    /// Who is known.
    pub(crate) identity: Identity,
    /// Of whom a certificate is had.
    pub(crate) acme: acme::Table,
    /// Whose tokens are taken, one table for each issuer.
    pub(crate) issuer: Vec<issuer::Table>,
    /// Who else vouches for clients, one table each.
    pub(crate) authority: Vec<Authority>,
    /// Who may give a name another value, one table for each rule.
    pub(crate) replacement: Vec<Replacement>,
    /// What is kept and what goes early, one table for each rule.
    pub(crate) retention: Vec<Retention>,
    /// Where metrics are served.
    pub(crate) metrics: Metrics,
    /// Where the server is administered.
    pub(crate) admin: Admin,
    /// What is logged.
    pub(crate) log: Log,
    /// Whom calls and figures are told.
    pub(crate) otlp: otlp::Table,
    /// What is kept of who did what.
    pub(crate) audit: Audit,
    /// What clients may take up.
    pub(crate) limits: Limits,
    /// What single identities may take up, one table for each rule.
    pub(crate) quota: Vec<Quota>,
    /// Of all listeners and metrics; variables have it, and no file.
    pub(crate) insecure: Option<Spanned<bool>>,
    /// Of all listeners; variables have it, and no file.
    pub(crate) tls: Option<Spanned<bool>>,
}

/// `[store]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// The data directory; a relative one lies beside the configuration file.
    pub(crate) data: Option<Spanned<PathBuf>>,
    /// How much the volume may hold, everything counted: `"500GB"`.
    pub(crate) max_size: Option<Spanned<Limit>>,
    /// What its file system must have left for others.
    pub(crate) keep_free: Option<Spanned<Size>>,
    /// The largest blob that is taken.
    pub(crate) max_cas_blob_size: Option<Spanned<Size>>,
    /// How long a client can count on what it was told is there: `"3h"`.
    pub(crate) lease: Option<Spanned<Span>>,
    /// Pulls alone.
    pub(crate) read_only: Option<Spanned<bool>>,
    /// When blobs are compressed: `"off"`.
    pub(crate) compression: Option<Spanned<Compression>>,
    /// How long ago what is compressed when it is cold was written: `"1d"`.
    pub(crate) compress_after: Option<Spanned<Span>>,
    /// A volume of an older format is raised to the newest.
    pub(crate) upgrade: Option<Spanned<bool>>,
    /// In how much time all blobs are read again.
    pub(crate) scrub: Option<Spanned<Scrub>>,
}

/// `[[listener]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port.
    pub(crate) address: Spanned<flags::Address>,
    /// What the service manager calls its sockets.
    pub(crate) fd_name: Option<Spanned<FdName>>,
    /// Without TLS although others can reach it: everybody there may pull and push.
    pub(crate) insecure: Option<Spanned<bool>>,
    /// With TLS.
    pub(crate) tls: Option<Spanned<bool>>,
    /// What is done there at most: `"push"`.
    pub(crate) allow: Option<Spanned<Allowed>>,
    /// What is done there without a credential: `"pull"`.
    pub(crate) anonymous: Option<Spanned<Allowed>>,
    /// What becomes of writes of clients that may only pull: `"refuse"`.
    pub(crate) denied_writes: Option<Spanned<Denied>>,
    /// Those in front of it: `["192.0.2.10"]`.
    pub(crate) proxies: Option<Spanned<Networks>>,
    /// They speak the PROXY protocol.
    pub(crate) proxy_protocol: Option<Spanned<bool>>,
    /// The header in which they hand on certificates.
    pub(crate) certificate_header: Option<Spanned<Header>>,
    /// The header in which they hand on addresses.
    pub(crate) address_header: Option<Spanned<Header>>,
}

/// `[identity]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// The directory of keys, identities and tokens.
    pub(crate) keys: Option<Spanned<PathBuf>>,
    /// The server's certificate.
    pub(crate) certificate: Option<Spanned<PathBuf>>,
    /// Its private key.
    pub(crate) key: Option<Spanned<PathBuf>>,
    /// BuildStream 1's file of client certificates.
    pub(crate) authorized: Option<Spanned<PathBuf>>,
    /// What they may do: `"push"`.
    pub(crate) authorized_allow: Option<Spanned<Allowed>>,
}

/// `[[authority]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authority {
    /// What stands before the names of its clients.
    pub(crate) name: Spanned<String>,
    /// Its certificates in PEM.
    pub(crate) certificates: Spanned<PathBuf>,
    /// The lists of certificates that it has revoked, in PEM.
    pub(crate) revoked: Option<Spanned<PathBuf>>,
    /// Whose certificates count: `["*.build.example.org"]`.
    pub(crate) subjects: Option<Spanned<Patterns>>,
    /// What they may do: `"pull"`.
    pub(crate) allow: Option<Spanned<Allowed>>,
    /// To which names: `["artifact:sdk/*"]`.
    pub(crate) names: Option<Spanned<Patterns>>,
    /// In which instances: `["main"]`.
    pub(crate) instances: Option<Spanned<Patterns>>,
}

/// `[[instance]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    /// The name that clients send.
    pub(crate) name: Spanned<String>,
    /// `"all"`, `"index-only"` or `"storage-only"`.
    pub(crate) keeps: Option<Spanned<Keeps>>,
}

/// `[[replacement]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    /// The names that it is for: `"artifact:sdk/*"`.
    pub(crate) names: Spanned<Names>,
    /// Whose value may be replaced: `"same"`.
    pub(crate) by: Option<Spanned<By>>,
    /// And what becomes of a push that may not: `"keep"`.
    pub(crate) otherwise: Option<Spanned<Else>>,
}

/// `[[retention]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    /// In which instances: `"main"`.
    pub(crate) instance: Option<Spanned<Names>>,
    /// Of what kind: `"artifact"`.
    pub(crate) kind: Option<Spanned<Kind>>,
    /// Artifacts of which projects: `"sdk"`.
    pub(crate) project: Option<Spanned<Names>>,
    /// And of which elements: `"base-*"`.
    pub(crate) element: Option<Spanned<Names>>,
    /// With which names: `"artifact:sdk/*"`.
    pub(crate) names: Option<Spanned<Names>>,
    /// Artifacts of builds that ended how: `"failure"`.
    pub(crate) outcome: Option<Spanned<Outcome>>,
    /// For how long they are kept: `"2 years"`.
    pub(crate) keep: Option<Spanned<KeptFor>>,
    /// How many artifacts of each element are kept.
    pub(crate) keep_newest: Option<Spanned<u32>>,
    /// How long after their push they go: `"1h"`.
    pub(crate) let_go_after: Option<Spanned<LetGoAfter>>,
    /// How many bytes of them stay: `"100GB"`.
    pub(crate) at_most: Option<Spanned<Size>>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// IP address and port, or `"off"`.
    pub(crate) address: Option<Spanned<flags::Metrics>>,
    /// May be reached by others.
    pub(crate) insecure: Option<Spanned<bool>>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// The socket, or `"off"`.
    pub(crate) socket: Option<Spanned<Socket>>,
    /// The file is read anew when it has changed.
    pub(crate) watch: Option<Spanned<bool>>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// A level, or a list: `"info,millpond_store=debug"`.
    pub(crate) filter: Option<Spanned<LogFilter>>,
}

/// `[audit]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// How much, or `"off"`.
    pub(crate) keep: Option<Spanned<Keep>>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections at the same time.
    pub(crate) connections: Option<Spanned<u32>>,
    /// Of them from one address.
    pub(crate) connections_per_address: Option<Spanned<u32>>,
    /// Calls at the same time on one connection.
    pub(crate) streams: Option<Spanned<u32>>,
    /// How much of requests is held in memory, by all together: `"1GiB"`.
    pub(crate) request_memory: Option<Spanned<Size>>,
    /// How long a look-up may take: `"30s"`.
    pub(crate) look_up_time: Option<Spanned<Span>>,
    /// How many walks may wait for their turn.
    pub(crate) look_ups_waiting: Option<Spanned<u32>>,
    /// The largest message: `"16MiB"`.
    pub(crate) message_size: Option<Spanned<Size>>,
    /// The largest headers of a request: `"32KiB"`.
    pub(crate) header_size: Option<Spanned<Size>>,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Option<Spanned<Span>>,
    /// For how long a request that is under way may bring nothing.
    pub(crate) upload_quiet: Option<Spanned<Span>>,
    /// What it has to bring in a second.
    pub(crate) upload_rate: Option<Spanned<Size>>,
    /// Names in one push or look-up.
    pub(crate) names_per_push: Option<Spanned<u32>>,
    /// Blobs in one batch.
    pub(crate) batch_blobs: Option<Spanned<u32>>,
    /// The deepest nesting of directories.
    pub(crate) tree_depth: Option<Spanned<u32>>,
    /// Blobs that a name may reach.
    pub(crate) closure_blobs: Option<Spanned<u32>>,
    /// For how long a client may take nothing of an answer.
    pub(crate) unread: Option<Spanned<Span>>,
    /// For how long a connection may ask nothing.
    pub(crate) idle: Option<Spanned<Span>>,
    /// How long calls under way may go on after SIGTERM.
    pub(crate) drain: Option<Spanned<Span>>,
}

/// `[[quota]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// The identities that it is for: `"ci-*"`.
    pub(crate) identities: Spanned<Names>,
    /// Requests in a minute.
    pub(crate) requests_per_minute: Option<Spanned<u32>>,
    /// How much may be uploaded in a day: `"200GB"`.
    pub(crate) upload_per_day: Option<Spanned<Size>>,
}

/// Reads the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Read, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        usage(
            format!("the configuration file {} cannot be read: {error}", path.display()),
            "give the path of a file that this user may read, or leave --config out",
        )
    })?;
    parse(path, text)
}

/// Parses the text of the file at `path`.
pub(crate) fn parse(path: &Path, text: impl Into<String>) -> Result<Read, Failure> {
    let text = text.into();
    let file = parse_text(&text, true).map_err(|misfit| {
        let line = line_of(&text, misfit.offset);
        let key = misfit.key.map_or(String::new(), |key| format!(", {key}"));
        usage(format!("{}, line {line}{key}: {}", path.display(), misfit.sentence), misfit.hint)
    })?;
    Ok(Read { file, source: Source::File(path.to_owned()), text })
}

/// Parses lines that were made of variables, each beside the variable's name.
pub(super) fn parse_variables(lines: &[(&'static str, String)]) -> Result<Read, Failure> {
    let (names, lines): (Vec<_>, Vec<_>) = lines.iter().map(|(name, line)| (*name, line.as_str())).unzip();
    let text = lines.join("\n");
    let file = parse_text(&text, false).map_err(|misfit| {
        let name = name_at(&names, line_of(&text, misfit.offset));
        usage(format!("{name}: {}", misfit.sentence), "correct that variable, or unset it")
    })?;
    Ok(Read { file, source: Source::Variables(names), text })
}

fn parse_text(text: &str, by_hand: bool) -> Result<File, keys::Misfit> {
    let table = DeTable::parse(text).map_err(|error| misfit(text, &error, None))?;
    if by_hand {
        keys::check(table.get_ref())?;
    }
    let file = File::deserialize(Deserializer::from(table.clone()));
    file.map_err(|error| misfit(text, &error, Some(table.get_ref())))
}

/// What the parser says of a key or a section that there is already.
const DUPLICATE: &str = "duplicate key";

/// What the parser says; `file` has the key of a value that it does not take.
fn misfit(text: &str, error: &toml::de::Error, file: Option<&DeTable<'_>>) -> keys::Misfit {
    let offset = error.span().map_or(0, |span| span.start);
    if error.message() == DUPLICATE {
        let key = error.span().and_then(|span| text.get(span)).unwrap_or_default().trim_matches(['"', '\'']);
        return keys::Misfit::twice(offset, key);
    }
    keys::Misfit {
        offset,
        key: file.and_then(|file| keys::key_at(file, offset)).map(str::to_owned),
        sentence: error.message().replace('\n', ", "),
        hint: "correct that line; `millpond config init` prints every setting".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    fn refused(text: &str) -> String {
        parse(Path::new("pond.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_setting_parses() {
        let text = r#"
            [store]
            data = "/srv/millpond"
            max_size = 60000000
            lease = "90m"
            read_only = true
            [[listener]]
            address = "[::]:11001"
            insecure = true
            [[instance]]
            name = "main"
            keeps = "index-only"
            [metrics]
            address = "127.0.0.1:9000"
            insecure = false
            [limits]
            request_memory = "1GiB"
        "#;
        let read = parse(Path::new("pond.toml"), text).unwrap();
        let File { store, listener, instance, .. } = &read.file;
        let size = read.given(store.max_size.as_ref().unwrap(), "max_size");
        assert_eq!(size.value, Limit::Bytes(Size(60_000_000)));
        assert_eq!(size.place.to_string(), "pond.toml, line 4, max_size");
        assert_eq!(*store.lease.as_ref().unwrap().get_ref(), Span { seconds: 5400 });
        assert!(*listener[0].insecure.as_ref().unwrap().get_ref());
        let instance = read.given(&instance[0].name, "name");
        assert_eq!((instance.value.as_str(), instance.place.name().as_str()), ("main", "name in line 11"));
        let memory = read.given(read.file.limits.request_memory.as_ref().unwrap(), "request_memory");
        assert_eq!(memory.value, Size(1 << 30));
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth_with_line_and_nearest_key() {
        for (text, line, near) in [
            ("[store]\n\nmaxsize = \"1GB\"", 3, "max_size"),
            ("[[listener]]\naddress = \"[::1]:1\"\ninsecur = true", 3, "insecure"),
            ("[metrics]\nadress = \"off\"", 2, "address"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("error: pond.toml, line {line}: ")), "{said}");
            assert!(said.ends_with(&format!("hint: did you mean \"{near}\"?")), "{said}");
        }
    }

    #[test]
    fn bad_values_are_refused_with_line_and_what_to_write() {
        for (text, line, remedy) in [
            ("[store]\nmax_size = \"12 parsecs\"", "2, max_size", "KiB"),
            ("[store]\nmax_size = -5", "2, max_size", "500GB"),
            ("[store]\nlease = \"3\"", "2, lease", "3h or 90m"),
            ("[store]\n\nlease = 3", "3, lease", "expected a string"),
            ("[[listener]]\naddress = \"localhost:1\"", "2, address", "[::1]:11001"),
            ("[[listener]]\naddress = \"[::1]:1\"\n\n[[listener]]\naddress = 1", "5, address", "a string"),
            ("[store\nlease = \"3h\"", "1", "]"),
            ("[store]\nlease = \"3h\"\n\nlease = \"4h\"", "4", "\"lease\" is given a second time"),
            ("[store]\nlease = \"3h\"\n[log]\n[store]", "4", "\"store\" is given a second time"),
        ] {
            let said = refused(text);
            assert!(said.contains(&format!("line {line}: ")), "{said}");
            assert!(said.contains(remedy), "{said}");
        }
    }

    #[test]
    fn every_known_key_is_a_setting_and_every_setting_a_known_key() {
        for (section, key) in reference::all() {
            let said = toml::from_str::<File>(&format!("{}\n{} = []", section.header(), key.name));
            let said = said.unwrap_err().to_string();
            assert!(!said.contains("unknown field"), "{} {}: {said}", section.name, key.name);
        }
        let bogus = "bogus = 1";
        let known = [
            ("store", toml::from_str::<Store>(bogus).unwrap_err()),
            ("identity", toml::from_str::<Identity>(bogus).unwrap_err()),
            ("acme", toml::from_str::<acme::Table>(bogus).unwrap_err()),
            ("issuer", toml::from_str::<issuer::Table>(bogus).unwrap_err()),
            ("issuer.grant", toml::from_str::<issuer::GrantTable>(bogus).unwrap_err()),
            ("authority", toml::from_str::<Authority>(bogus).unwrap_err()),
            ("listener", toml::from_str::<Listener>(bogus).unwrap_err()),
            ("instance", toml::from_str::<Instance>(bogus).unwrap_err()),
            ("replacement", toml::from_str::<Replacement>(bogus).unwrap_err()),
            ("retention", toml::from_str::<Retention>(bogus).unwrap_err()),
            ("metrics", toml::from_str::<Metrics>(bogus).unwrap_err()),
            ("admin", toml::from_str::<Admin>(bogus).unwrap_err()),
            ("log", toml::from_str::<Log>(bogus).unwrap_err()),
            ("otlp", toml::from_str::<otlp::Table>(bogus).unwrap_err()),
            ("audit", toml::from_str::<Audit>(bogus).unwrap_err()),
            ("limits", toml::from_str::<Limits>(bogus).unwrap_err()),
            ("quota", toml::from_str::<Quota>(bogus).unwrap_err()),
        ];
        assert!(
            reference::SECTIONS.iter().map(|section| section.name).eq(known.iter().map(|(name, _)| *name))
        );
        for (section, error) in known {
            // Serde quotes the unknown key and then each known one.
            let inner = |name: &&str| {
                reference::SECTIONS.iter().any(|known| known.name == format!("{section}.{name}"))
            };
            let settings = error.message().split('`').skip(1).step_by(2).skip(1).filter(|name| !inner(name));
            let keys = reference::all().filter(|(of, _)| of.name == section).map(|(_, key)| key.name);
            assert!(settings.eq(keys), "{section}: {error}");
        }
    }

    #[test]
    fn file_of_init_changes_nothing_and_with_every_line_taken_in_is_in_order() {
        let text = reference::file();
        parse(Path::new("init.toml"), text.as_str()).unwrap();
        let taken_in: String = text
            .lines()
            .map(|line| {
                let line = if line.starts_with("# ") { line } else { line.trim_start_matches('#') };
                format!("{line}\n")
            })
            .collect();
        let file = parse(Path::new("init.toml"), taken_in).unwrap().file;
        let File { store, listener, instance, identity, issuer, authority, replacement, limits, .. } = &file;
        assert!(store.data.is_some() && file.metrics.insecure.is_some() && limits.request_memory.is_some());
        assert!(file.admin.socket.is_some() && file.log.filter.is_some() && file.audit.keep.is_some());
        assert!(identity.keys.is_some() && identity.authorized.is_some());
        assert_eq!((listener.len(), instance.len(), replacement.len()), (2, 2, 2));
        assert_eq!((issuer.len(), authority.len()), (1, 2));
    }
}
