//! What a configuration file may say, and what is said back when it says something else.
//!
//! **Invariant:** a key that is not known is an error at every depth, told with file, line and the nearest known key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::{flags, nearest, usage};
use crate::exit::Failure;
use crate::size::Size;
use crate::span::Span;

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
    /// Where metrics are served.
    pub(crate) metrics: Metrics,
    /// What clients may take up.
    pub(crate) limits: Limits,
}

/// `[store]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// The data directory; a relative one lies beside the configuration file.
    pub(crate) data: Option<PathBuf>,
    /// How much the volume may hold, everything counted: `"500GB"`.
    pub(crate) max_size: Option<Size>,
    /// How long a client can count on what it was told is there: `"3h"`.
    pub(crate) lease: Option<Span>,
}

/// `[[listener]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port.
    #[serde(deserialize_with = "address")]
    pub(crate) address: SocketAddr,
    /// Without TLS although others can reach it: everybody there may pull and push.
    #[serde(default)]
    pub(crate) insecure: bool,
}

/// `[[instance]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    /// The name that clients send.
    pub(crate) name: String,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// IP address and port, or `"off"`.
    pub(crate) address: Option<flags::Metrics>,
    /// May be reached by others.
    pub(crate) insecure: bool,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// How much of requests is held in memory, by all together: `"1GiB"`.
    pub(crate) request_memory: Option<Size>,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    flags::address(&text).map_err(serde::de::Error::custom)
}

/// Reads the file at `path`.
pub(crate) fn read(path: &Path) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        usage(
            format!("the configuration file {} cannot be read: {error}", path.display()),
            "give the path of a file that this user may read, or leave --config out",
        )
    })?;
    parse(path, &text)
}

/// Parses the text of the file at `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<File, Failure> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let sentence = format!("{}, line {line}: {}", path.display(), error.message().replace('\n', ", "));
        usage(sentence, nearest::hint(error.message()))
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

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
            [[listener]]
            address = "[::]:11001"
            insecure = true
            [[instance]]
            name = "main"
            [metrics]
            address = "127.0.0.1:9000"
            insecure = false
            [limits]
            request_memory = "1GiB"
        "#;
        let file = parse(Path::new("pond.toml"), text).unwrap();
        assert_eq!(file.store.max_size, Some(Size(60_000_000)));
        assert_eq!(file.store.lease, Some(Span { seconds: 5400 }));
        assert!(file.listener[0].insecure);
        assert_eq!(file.instance[0].name, "main");
        assert_eq!(file.limits.request_memory, Some(Size(1 << 30)));
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth_with_line_and_nearest_key() {
        for (text, line, near) in [
            ("stoer = 1", 1, "store"),
            ("[store]\n\nmaxsize = \"1GB\"", 3, "max_size"),
            ("[[listener]]\naddress = \"[::1]:1\"\ninsecur = true", 3, "insecure"),
            ("[metrics]\nadress = \"off\"", 2, "address"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("error: pond.toml, line {line}: unknown field")), "{said}");
            assert!(said.ends_with(&format!("hint: did you mean \"{near}\"?")), "{said}");
        }
    }

    #[test]
    fn bad_values_are_refused_with_line_and_what_to_write() {
        for (text, line, remedy) in [
            ("[store]\nmax_size = \"12 parsecs\"", 2, "KiB"),
            ("[store]\nmax_size = -5", 2, "500GB"),
            ("[store]\nlease = \"3\"", 2, "3h or 90m"),
            ("[[listener]]\naddress = \"localhost:1\"", 2, "[::1]:11001"),
            ("[store\nlease = \"3h\"", 1, "]"),
        ] {
            let said = refused(text);
            assert!(said.contains(&format!("line {line}: ")), "{said}");
            assert!(said.contains(remedy), "{said}");
        }
    }

    #[test]
    fn missing_address_is_named() {
        assert!(refused("[[listener]]\ninsecure = true").contains("missing field `address`"));
    }

    #[test]
    fn documented_file_parses_and_names_every_setting() {
        let document = include_str!("../../../../docs/configuration.md");
        let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file = parse(Path::new("docs/configuration.md"), example).unwrap();
        // Taken apart here, so that a new setting that is not documented does not compile or is seen missing.
        let File { store: Store { data, max_size, lease }, listener, instance, metrics, limits } = file;
        let Limits { request_memory } = limits;
        assert!(request_memory.is_some());
        assert!(data.is_some() && max_size.is_some() && lease.is_some());
        assert!(listener.iter().any(|listener| listener.insecure) && !instance.is_empty());
        assert!(metrics.address.is_some() && example.contains("[metrics]") && !metrics.insecure);
    }
}
