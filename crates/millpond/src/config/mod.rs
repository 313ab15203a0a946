//! What the server runs with: flags over the configuration file over defaults.
//!
//! [`mod@file`] is what a file may say, [`keys`] how its sections are written, [`flags`] what the command line may say,
//! [`check`] what goes together. This module lays one over the other; after it, where a setting was given ([`Place`]) is
//! asked for messages alone.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::file::Read;
use crate::exit::{Code, Failure};
use crate::size::Size;
use crate::span::Span;

mod check;
mod file;
mod flags;
mod keys;
mod place;

pub(crate) use flags::Flags;
pub(crate) use place::{Given, Place};

/// The port that BuildStream caches are found on.
const PORT: u16 = 11001;
/// Below this the store's own packs, reserve and catalog leave no room for anybody's blobs.
const MAX_SIZE_LEAST: Size = Size(8_000_000);

/// The settings of a server.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The data directory: the volume.
    pub(crate) data: Given<PathBuf>,
    /// How much the volume may hold, everything counted; without it, nine tenths of the file system.
    pub(crate) max_size: Option<Given<Size>>,
    /// For how long a client that got an answer can count on the blobs behind it.
    pub(crate) lease: Span,
    /// Where clients are served.
    pub(crate) listeners: Vec<Listener>,
    /// The instance names beside the empty one.
    pub(crate) instances: Vec<Given<String>>,
    /// About how much of requests may be held in memory; without it, an eighth of the machine's.
    pub(crate) request_memory: Option<Given<Size>>,
    /// Where metrics are served, if anywhere.
    pub(crate) metrics: Option<Listener>,
}

/// The least memory for requests: below it the largest messages could not be taken.
const REQUEST_MEMORY_LEAST: Size = Size(64 * 1024 * 1024);

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// IP address and port; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// Somebody has decided that it may be reached from elsewhere without TLS.
    pub(crate) insecure: bool,
    /// Nobody asked for it: that it cannot be had is no reason not to start.
    pub(crate) optional: bool,
    /// Where it was asked for.
    pub(crate) place: Place,
}

impl Listener {
    fn asked_for(address: SocketAddr, insecure: bool, place: Place) -> Self {
        Self { address, insecure, optional: false, place }
    }
}

const LISTEN: Place = Place::Flag("--listen");
const METRICS: &str = "--metrics";

impl Settings {
    /// Reads the file that the flags name, lays the flags over it, and checks what comes out.
    pub(crate) fn load(flags: Flags) -> Result<Self, Failure> {
        let read = match &flags.config {
            Some(path) => file::read(path)?,
            None => Read::default(),
        };
        let settings = Self::merge(flags, &read);
        check::check(&settings)?;
        Ok(settings)
    }

    fn merge(flags: Flags, read: &Read) -> Self {
        let file = &read.file;
        let insecure = flags.insecure;
        let data = flags.data.map(|data| Given::by_flag("--data", data));
        let file_data = || {
            let given = read.given(file.store.data.as_ref()?, "data");
            Some(Given { value: beside(flags.config.as_deref(), given.value), ..given })
        };
        let max_size = flags.max_size.map(|size| Given::by_flag("--max-size", size));
        let request_memory = flags.request_memory.map(|size| Given::by_flag("--request-memory", size));
        let metrics_at = flags.metrics.map(|metrics| Given::by_flag(METRICS, metrics));
        let file_metrics = || file.metrics.address.as_ref().map(|metrics| read.given(metrics, "address"));
        Self {
            data: data
                .or_else(file_data)
                .unwrap_or_else(|| Given::by_flag("--data", PathBuf::from("millpond-data"))),
            max_size: max_size
                .or_else(|| file.store.max_size.as_ref().map(|size| read.given(size, "max_size"))),
            lease: flags.lease.or(file.store.lease).unwrap_or(Span { seconds: 3 * 3600 }),
            listeners: listeners(&flags.listen, read, insecure),
            instances: if flags.instance.is_empty() {
                file.instance.iter().map(|instance| read.given(&instance.name, "name")).collect()
            } else {
                flags.instance.into_iter().map(|name| Given::by_flag("--instance", name)).collect()
            },
            request_memory: request_memory.or_else(|| {
                file.limits.request_memory.as_ref().map(|size| read.given(size, "request_memory"))
            }),
            metrics: metrics(metrics_at.or_else(file_metrics), insecure || file.metrics.insecure),
        }
    }
}

/// A relative path in a file is meant from where the file lies, wherever the server is started. An empty one is meant
/// by nobody.
fn beside(config: Option<&Path>, data: PathBuf) -> PathBuf {
    match config.and_then(Path::parent) {
        Some(folder) if !data.as_os_str().is_empty() => folder.join(data),
        _ => data,
    }
}

fn listeners(flags: &[SocketAddr], read: &Read, insecure: bool) -> Vec<Listener> {
    if !flags.is_empty() {
        return flags.iter().map(|&address| Listener::asked_for(address, insecure, LISTEN)).collect();
    }
    let file = &read.file.listener;
    if !file.is_empty() {
        let listener = |listener: &file::Listener| {
            let Given { value, place } = read.given(&listener.address, "address");
            Listener::asked_for(value.0, insecure || listener.insecure, place)
        };
        return file.iter().map(listener).collect();
    }
    let ipv4 = Listener::asked_for(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), insecure, LISTEN);
    let ipv6 = Listener::asked_for(SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)), insecure, LISTEN);
    vec![ipv4, Listener { optional: true, ..ipv6 }]
}

fn metrics(asked: Option<Given<flags::Metrics>>, insecure: bool) -> Option<Listener> {
    match asked {
        Some(Given { value: flags::Metrics::Off, .. }) => None,
        Some(Given { value: flags::Metrics::At(address), place }) => {
            Some(Listener::asked_for(address, insecure, place))
        }
        // The port that Prometheus exporters of instrumented programs are given.
        None => Some(Listener {
            optional: true,
            ..Listener::asked_for(
                SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
                insecure,
                Place::Flag(METRICS),
            )
        }),
    }
}

/// A failure of the command line or the configuration.
fn usage(sentence: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(Code::Usage, sentence, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            flags: Flags,
        }
        Line::try_parse_from([&["millpond"], arguments].concat()).unwrap().flags
    }

    fn file(text: &str) -> Read {
        file::parse(Path::new("millpond.toml"), text).unwrap()
    }

    #[test]
    fn defaults_are_loopback_and_a_folder_beside() {
        let settings = Settings::merge(flags(&[]), &Read::default());
        check::check(&settings).unwrap();
        assert_eq!(settings.data.value, Path::new("millpond-data"));
        assert_eq!(settings.lease.seconds, 10_800);
        let addresses: Vec<_> =
            settings.listeners.iter().map(|l| (l.address.to_string(), l.optional)).collect();
        assert_eq!(addresses, [("127.0.0.1:11001".into(), false), ("[::1]:11001".into(), true)]);
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = file(
            "[store]\ndata = \"a\"\nmax_size = \"1GB\"\nlease = \"1h\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n[[instance]]\nname = \"x\"\n[metrics]\naddress = \"off\"",
        );
        let settings = Settings::merge(
            flags(&[
                "--data=b",
                "--max-size=2GB",
                "--listen=127.0.0.1:2",
                "--instance=y",
                "--metrics=127.0.0.1:3",
            ]),
            &file,
        );
        assert_eq!(settings.data.value, Path::new("b"));
        assert_eq!(settings.max_size, Some(Given::by_flag("--max-size", Size(2_000_000_000))));
        assert_eq!(settings.lease.seconds, 3600);
        assert_eq!(settings.listeners, [Listener::asked_for("127.0.0.1:2".parse().unwrap(), false, LISTEN)]);
        assert_eq!(settings.instances, [Given::by_flag("--instance", "y".to_owned())]);
        let metrics = Listener::asked_for("127.0.0.1:3".parse().unwrap(), false, Place::Flag(METRICS));
        assert_eq!(settings.metrics, Some(metrics));
    }

    #[test]
    fn relative_data_in_a_file_lies_beside_the_file() {
        let file = file("[store]\ndata = \"pond\"");
        let settings = Settings::merge(flags(&["--config=/etc/millpond/millpond.toml"]), &file);
        assert_eq!(settings.data.value, Path::new("/etc/millpond/pond"));
    }
}
