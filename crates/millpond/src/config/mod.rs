//! What the server runs with: flags over the configuration file over defaults.
//!
//! [`mod@file`] is what a file may say, [`flags`] what the command line may say, [`check`] what goes together. This module
//! lays one over the other; after it, nothing asks where a setting came from.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::exit::{Code, Failure};
use crate::size::Size;
use crate::span::Span;

mod check;
mod file;
mod flags;
mod nearest;

pub(crate) use flags::Flags;

/// The port that BuildStream caches are found on.
const PORT: u16 = 11001;
/// Below this the store's own packs, reserve and catalog leave no room for anybody's blobs.
const MAX_SIZE_LEAST: Size = Size(8_000_000);

/// The settings of a server.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The data directory: the volume.
    pub(crate) data: PathBuf,
    /// How much the volume may hold, everything counted; without it, nine tenths of the file system.
    pub(crate) max_size: Option<Size>,
    /// For how long a client that got an answer can count on the blobs behind it.
    pub(crate) lease: Span,
    /// Where clients are served.
    pub(crate) listeners: Vec<Listener>,
    /// The instance names beside the empty one.
    pub(crate) instances: Vec<String>,
    /// About how much of requests may be held in memory; without it, an eighth of the machine's.
    pub(crate) request_memory: Option<Size>,
    /// Where metrics are served, if anywhere.
    pub(crate) metrics: Option<Listener>,
}

/// The least memory for requests: below it the largest messages could not be taken.
const REQUEST_MEMORY_LEAST: Size = Size(64 * 1024 * 1024);

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// IP address and port; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// Somebody has decided that it may be reached from elsewhere without TLS.
    pub(crate) insecure: bool,
    /// Nobody asked for it: that it cannot be had is no reason not to start.
    pub(crate) optional: bool,
}

impl Listener {
    fn asked_for(address: SocketAddr, insecure: bool) -> Self {
        Self { address, insecure, optional: false }
    }
}

impl Settings {
    /// Reads the file that the flags name, lays the flags over it, and checks what comes out.
    pub(crate) fn load(flags: Flags) -> Result<Self, Failure> {
        let file = match &flags.config {
            Some(path) => file::read(path)?,
            None => file::File::default(),
        };
        let settings = Self::merge(flags, file);
        check::check(&settings)?;
        Ok(settings)
    }

    fn merge(flags: Flags, file: file::File) -> Self {
        let insecure = flags.insecure;
        let file_data = file.store.data.map(|data| beside(flags.config.as_deref(), data));
        Self {
            data: flags.data.or(file_data).unwrap_or_else(|| PathBuf::from("millpond-data")),
            max_size: flags.max_size.or(file.store.max_size),
            lease: flags.lease.or(file.store.lease).unwrap_or(Span { seconds: 3 * 3600 }),
            listeners: listeners(&flags.listen, &file.listener, insecure),
            instances: if flags.instance.is_empty() {
                file.instance.into_iter().map(|instance| instance.name).collect()
            } else {
                flags.instance
            },
            request_memory: flags.request_memory.or(file.limits.request_memory),
            metrics: metrics(flags.metrics.or(file.metrics.address), insecure || file.metrics.insecure),
        }
    }
}

/// A relative path in a file is meant from where the file lies, wherever the server is started.
fn beside(config: Option<&Path>, data: PathBuf) -> PathBuf {
    config.and_then(Path::parent).map_or(data.clone(), |folder| folder.join(data))
}

fn listeners(flags: &[SocketAddr], file: &[file::Listener], insecure: bool) -> Vec<Listener> {
    if !flags.is_empty() {
        return flags.iter().map(|&address| Listener::asked_for(address, insecure)).collect();
    }
    if !file.is_empty() {
        return file.iter().map(|l| Listener::asked_for(l.address, insecure || l.insecure)).collect();
    }
    let ipv4 = Listener::asked_for(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), insecure);
    let ipv6 = Listener::asked_for(SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)), insecure);
    vec![ipv4, Listener { optional: true, ..ipv6 }]
}

fn metrics(asked: Option<flags::Metrics>, insecure: bool) -> Option<Listener> {
    match asked {
        Some(flags::Metrics::Off) => None,
        Some(flags::Metrics::At(address)) => Some(Listener::asked_for(address, insecure)),
        // The port that Prometheus exporters of instrumented programs are given.
        None => Some(Listener {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            insecure,
            optional: true,
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

    fn file(text: &str) -> file::File {
        file::parse(Path::new("millpond.toml"), text).unwrap()
    }

    #[test]
    fn defaults_are_loopback_and_a_folder_beside() {
        let settings = Settings::merge(flags(&[]), file::File::default());
        check::check(&settings).unwrap();
        assert_eq!(settings.data, Path::new("millpond-data"));
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
            file,
        );
        assert_eq!(settings.data, Path::new("b"));
        assert_eq!(settings.max_size, Some(Size(2_000_000_000)));
        assert_eq!(settings.lease.seconds, 3600);
        assert_eq!(settings.listeners, [Listener::asked_for("127.0.0.1:2".parse().unwrap(), false)]);
        assert_eq!(settings.instances, ["y"]);
        assert_eq!(settings.metrics, Some(Listener::asked_for("127.0.0.1:3".parse().unwrap(), false)));
    }

    #[test]
    fn relative_data_in_a_file_lies_beside_the_file() {
        let file = file("[store]\ndata = \"pond\"");
        let settings = Settings::merge(flags(&["--config=/etc/millpond/millpond.toml"]), file);
        assert_eq!(settings.data, Path::new("/etc/millpond/pond"));
    }
}
