//! What the server runs with: flags over the environment over the configuration file over defaults.
//!
//! [`mod@reference`] has every setting with its meaning, [`mod@file`] is what a file may say, [`environment`] says the same in
//! variables, [`keys`] how sections are written, [`flags`] what the command line may say, [`merge`] lays one over the
//! other, [`check`] is what goes together, and [`show`] says what came out. Where a setting was given ([`Place`]) is asked
//! for messages alone.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use millpond_cache::{Bounds, Rights};
use millpond_identity::Presented;

use crate::exit::{Code, Failure};
use crate::size::Size;
use crate::span::Span;

mod acme;
mod audit;
mod authority;
mod check;
mod claims;
mod compression;
mod doubts;
mod environment;
mod fd_name;
mod file;
mod flags;
mod header;
#[cfg(any(test, fuzzing))]
mod hostile;
mod instance;
mod issuer;
mod keys;
mod limit;
mod lists;
mod log_filter;
mod merge;
mod otlp;
mod place;
mod printed;
mod quota;
mod reference;
mod replacement;
mod requests;
mod retention;
mod rights;
mod scrub;
mod show;
mod socket;

pub(crate) use acme::Acme;
pub(crate) use audit::Keep;
pub(crate) use authority::Authority;
pub(crate) use check::check_reach;
pub(crate) use compression::Compression;
pub(crate) use environment::quoted;
pub(crate) use fd_name::FdName;
pub(crate) use flags::Flags;
pub(crate) use header::Header;
#[cfg(any(test, fuzzing))]
pub(crate) use hostile::take;
pub(crate) use instance::{Instance, Keeps};
pub(crate) use issuer::Issuer;
pub(crate) use limit::Limit;
pub(crate) use lists::{Networks, Patterns};
pub(crate) use log_filter::LogFilter;
pub(crate) use merge::{PORT, PUSH_PORT};
use otlp::Otlp;
pub(crate) use place::{Given, Place};
pub(crate) use printed::{Difference, Printed};
pub(crate) use quota::Quota;
pub(crate) use reference::file as commented_file;
pub(crate) use replacement::{By, Else, Rule};
use requests::Requests;
pub(crate) use retention::{KeptFor, Retention};
pub(crate) use rights::{Allowed, Denied};
pub(crate) use scrub::Scrub;
pub(crate) use socket::Socket;

/// Below this the store's own packs, reserve and catalog leave no room for anybody's blobs.
const MAX_SIZE_LEAST: Size = Size(8_000_000);

/// The settings of a server.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The data directory: the volume.
    pub(crate) data: Given<PathBuf>,
    /// How much the volume may hold, everything counted; without it, nine tenths of the file system.
    pub(crate) max_size: Option<Given<Limit>>,
    /// What its file system must have left for others; without it, the smaller of 2 GB and a twentieth.
    pub(crate) keep_free: Option<Given<Size>>,
    /// The largest blob that is taken, if that is less than half of what there is room for.
    pub(crate) max_cas_blob_size: Option<Given<Size>>,
    /// For how long a client that got an answer can count on the blobs behind it.
    pub(crate) lease: Given<Span>,
    /// In how much time all blobs are read again, over and over.
    pub(crate) scrub: Given<Scrub>,
    /// Every push is refused.
    pub(crate) read_only: Given<bool>,
    /// When blobs are compressed.
    pub(crate) compression: Given<Compression>,
    /// How long ago what is cold was written.
    pub(crate) compress_after: Given<Span>,
    /// A volume of an older format is raised to the newest.
    pub(crate) upgrade: Given<bool>,
    /// Where clients are served.
    pub(crate) listeners: Vec<Listener>,
    /// The directory of keys, identities and tokens.
    pub(crate) keys: Given<PathBuf>,
    /// The server's certificate with those that vouch for it; without it, that of the keys' directory.
    pub(crate) certificate: Option<Given<PathBuf>>,
    /// Its private key.
    pub(crate) key: Option<Given<PathBuf>>,
    /// Of whom that is had instead.
    pub(crate) acme: Option<Acme>,
    /// BuildStream 1's file of client certificates.
    pub(crate) authorized: Option<Given<PathBuf>>,
    /// What they may do.
    pub(crate) authorized_allow: Given<Allowed>,
    /// Whose tokens are taken.
    pub(crate) issuers: Vec<Issuer>,
    /// Who else vouches for clients.
    pub(crate) authorities: Vec<Authority>,
    /// The instances beside the empty one, and perhaps what that keeps.
    pub(crate) instances: Vec<Instance>,
    /// Who may give a name another value, the first that matches counts.
    pub(crate) replacement: Vec<Rule>,
    /// What is kept and what goes early, by rules.
    pub(crate) retention: Vec<Retention>,
    /// What single identities may take up, the first that matches counts.
    pub(crate) quotas: Vec<Quota>,
    /// About how much of requests may be held in memory; without it, an eighth of the machine's.
    pub(crate) request_memory: Option<Given<Size>>,
    /// Connections at the same time.
    pub(crate) connections: Given<u32>,
    /// Of them from one address; without it, as many as there are.
    pub(crate) connections_per_address: Option<Given<u32>>,
    /// Calls at the same time on one connection.
    pub(crate) streams: Given<u32>,
    /// How long a look-up may take.
    pub(crate) look_up_time: Given<Span>,
    /// How many walks may wait for their turn until look-ups are misses.
    pub(crate) look_ups_waiting: Given<u32>,
    /// What one request may be like.
    pub(crate) requests: Requests,
    /// For how long a client may take nothing of an answer.
    pub(crate) unread: Given<Span>,
    /// For how long a connection may ask nothing.
    pub(crate) idle: Given<Span>,
    /// How long calls under way may go on after SIGTERM.
    pub(crate) drain: Given<Span>,
    /// Where metrics are served.
    pub(crate) metrics: Metrics,
    /// Where the server is administered; without it, by a socket in the data directory.
    pub(crate) admin_socket: Option<Given<Socket>>,
    /// The configuration file is read anew when it has changed.
    pub(crate) watch: Given<bool>,
    /// What is logged, where the environment does not say so.
    pub(crate) log_filter: Option<Given<LogFilter>>,
    /// Whom calls and figures are told.
    pub(crate) otlp: Otlp,
    /// How much of the audit log is kept; without it, a share of the volume.
    pub(crate) audit: Option<Given<Keep>>,
    /// Sentences about what was said and means nothing.
    pub(crate) warnings: Vec<String>,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// Nowhere, as was said there.
    Off(Place),
    /// On this address.
    On(Box<Listener>),
}

impl Metrics {
    /// The address, if there is one.
    pub(crate) fn listener(&self) -> Option<&Listener> {
        match self {
            Self::Off(_) => None,
            Self::On(listener) => Some(listener),
        }
    }
}

/// Below it even small trees of files would not be taken.
const BLOB_SIZE_LEAST: Size = Size(1_000_000);
/// The least memory for requests: below it the largest messages could not be taken.
const REQUEST_MEMORY_LEAST: Size = Size(96 * 1024 * 1024);

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// IP address and port; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// What the service manager calls sockets that it passes for this listener.
    pub(crate) fd_name: Option<Given<FdName>>,
    /// Somebody has decided that it may be reached from elsewhere without TLS.
    pub(crate) insecure: Given<bool>,
    /// TLS is spoken.
    pub(crate) tls: Given<bool>,
    /// What is done there at most.
    pub(crate) allow: Given<Allowed>,
    /// What clients without a credential may do; without it, to pull with TLS or behind a proxy, and else all that is allowed.
    pub(crate) anonymous: Option<Given<Allowed>>,
    /// What becomes of writes of clients that may only pull.
    pub(crate) denied_writes: Given<Denied>,
    /// Those in front of it.
    pub(crate) proxies: Option<Given<Networks>>,
    /// They speak the PROXY protocol.
    pub(crate) proxy_protocol: Given<bool>,
    /// The header in which they hand on certificates.
    pub(crate) certificate_header: Option<Given<Header>>,
    /// The header in which they hand on addresses.
    pub(crate) address_header: Option<Given<Header>>,
    /// Nobody asked for it: that it cannot be had is no reason not to start.
    pub(crate) optional: bool,
    /// Where it was asked for.
    pub(crate) place: Place,
}

impl Listener {
    /// What its clients may do.
    pub(crate) fn bounds(&self) -> Bounds {
        let most = self.allow.value.0;
        // Where there is a proxy, others come than those of this machine.
        let others = self.tls.value || self.proxies.is_some();
        let unsaid = if others { Rights::Pull } else { Rights::Push };
        let anonymous = self.anonymous.as_ref().map_or(unsaid, |anonymous| anonymous.value.0);
        Bounds { most, anonymous: anonymous.min(most) }
    }

    /// One without TLS, where everybody may do everything.
    #[cfg(test)]
    pub(crate) fn open(address: &str, insecure: bool) -> Self {
        let insecure = Given::by_flag("--insecure", insecure);
        Self::unsaid(address.parse().unwrap(), insecure, Place::Flag("--listen"))
    }

    /// One of which only the address was said.
    fn unsaid(address: SocketAddr, insecure: Given<bool>, place: Place) -> Self {
        Self {
            address,
            fd_name: None,
            insecure,
            tls: Given::default("--tls", false),
            allow: Given::default("allow", Allowed(Rights::Push)),
            anonymous: None,
            denied_writes: Given::default("denied_writes", Denied(false)),
            proxies: None,
            proxy_protocol: Given::default("proxy_protocol", false),
            certificate_header: None,
            address_header: None,
            optional: false,
            place,
        }
    }
}

impl Settings {
    /// Whether the certificate is one of Millpond's own making.
    pub(crate) fn certifies_itself(&self) -> bool {
        self.certificate.is_none() && self.acme.is_none()
    }

    /// The names of the server's certificate where that is of somebody else's making, as far as they can be read.
    pub(crate) fn certified_elsewhere(&self) -> Option<Vec<String>> {
        if let Some(acme) = &self.acme {
            return Some(acme.domains.as_ref().map_or_else(Vec::new, |domains| domains.value.0.clone()));
        }
        // Whoever issues keys need not be able to read it.
        let read = |path| Presented::read(&fs::read(path).ok()?).ok();
        let certificate = self.certificate.as_ref()?;
        Some(read(&certificate.value).map_or_else(Vec::new, |presented| presented.names))
    }

    /// The file with the server's certificate, which may be still to come.
    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.of_certificate(self.certificate.as_ref(), "server.crt")
    }

    /// The file with its key.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.of_certificate(self.key.as_ref(), "server.key")
    }

    fn of_certificate(&self, given: Option<&Given<PathBuf>>, own: &str) -> PathBuf {
        match (given, &self.acme) {
            (Some(given), _) => given.value.clone(),
            // Both are in one file.
            (None, Some(acme)) => {
                millpond_server::Acme::file(&self.keys.value, &acme.directory.value.location)
            }
            (None, None) => self.keys.value.join(own),
        }
    }

    /// Reads the environment and the file that the flags name, lays the flags over them, and checks what comes out.
    pub(crate) fn load(flags: Flags) -> Result<Self, Failure> {
        let environment = environment::of_this_process()?;
        let read = match &flags.config {
            Some(path) => file::read(path)?,
            None => file::Read::default(),
        };
        let settings = merge::merge(flags, &environment.read, &read);
        check::check(&settings)?;
        let doubts = doubts::doubts(&settings);
        let warnings = [environment.warnings, settings.warnings, doubts].concat();
        Ok(Self { warnings, ..settings })
    }
}

/// A failure of the command line or the configuration.
fn usage(sentence: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(Code::Usage, sentence, hint)
}

#[cfg(test)]
impl Default for Settings {
    fn default() -> Self {
        let nothing = file::Read::default();
        merge::merge(Flags::default(), &nothing, &nothing)
    }
}
