//! A server's life, top to bottom: bind, open, listen, say so, wait, drain, close.
//!
//! **Invariant:** a port is open only while it can answer: the volume is opened and recovered before anything listens, but
//! for what the service manager listens on by itself, where clients wait meanwhile. Until then a signal ends the process where it is, which loses nothing that was acknowledged.
//!
//! **Invariant:** what can be refused without the volume is refused before anything of it is made.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Bounds, Cache, OpenError, Rights};
use millpond_identity::ServerKeys;
use millpond_server::{Listener, LogControl, Options, Otlp, Proxies, ReloadControl, Server, chain};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::admin_socket::{self, AdminSocket};
use crate::bind::{self, Bound};
use crate::config::{self, Flags, Given, Settings};
use crate::credentials::Loaded;
use crate::directory::{self, Room};
use crate::exit::{Code, Failure};
use crate::greeting::{Greeting, Served};
use crate::notify;
use crate::open_files;
use crate::options;
use crate::otlp;
use crate::passed::Passed;
use crate::reload::{Reload, Serving};
use crate::size::Size;
use crate::stop::StopSignals;

// Service managers kill what has not ended soon after SIGTERM; container engines wait 10 s by default, but can be told.
// With 10 s for calls under way, which is the default, these stay below 20 s.
/// What drained connections may take on top, before they are dropped.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How many may wait for the configuration to be read anew.
const RELOADS_WAITING: usize = 16;
/// For how long the volume may take to write down what makes the next start quick.
const CLOSE: Duration = Duration::from_secs(7);

/// Serves until a signal ends it.
pub(crate) async fn serve(
    flags: Flags,
    settings: Settings,
    mut passed: Passed,
    log: LogControl,
) -> Result<(), Failure> {
    let mut signals = StopSignals::catch()?;
    let reload = Reload::begin(flags, &settings)?;
    open_files::allow_all_that_may_be_had();
    let loaded = Loaded::read(&settings)?;
    let otlp = otlp::of(&settings)?;
    let sockets = Sockets::bind(&settings, &mut passed)?;
    passed.nothing_is_left()?;
    directory::check(&settings)?;
    tracing::info!("opening {}", settings.data.value.display());
    notify::opening(&format!("opening {}", settings.data.value.display()));
    let cache = match signals.unless(open(&settings)).await {
        Ok(opened) => opened?,
        Err(name) => {
            tracing::info!("{name}: ended while the volume was being opened, which the next start does anew");
            return Ok(());
        }
    };
    let ended = serve_from(&settings, &cache, &loaded, sockets, (log, reload, otlp), signals).await;
    let closed = close(&cache).await;
    ended.and(closed)
}

/// What is listened on once there is an answer.
struct Sockets {
    clients: Vec<Bound>,
    metrics: Option<Bound>,
    /// For an ACME authority.
    challenges: Option<TcpListener>,
    /// If it was passed.
    admin: Option<UnixListener>,
}

impl Sockets {
    fn bind(settings: &Settings, passed: &mut Passed) -> Result<Self, Failure> {
        Ok(Self {
            clients: bind::all(&settings.listeners, passed)?,
            metrics: bind::metrics(settings.metrics.listener(), passed)?,
            challenges: bind::challenges(settings)?,
            admin: admin_socket::path(settings).and_then(|path| passed.admin(&path)),
        })
    }
}

async fn serve_from(
    settings: &Settings,
    cache: &Arc<Cache>,
    loaded: &Loaded,
    sockets: Sockets,
    (log, mut reload, otlp): (LogControl, Reload, Option<Otlp>),
    mut signals: StopSignals,
) -> Result<(), Failure> {
    let (shutdown, asked_to_stop) = oneshot::channel::<()>();
    let (control, asked) = ReloadControl::new(RELOADS_WAITING);
    let options = Options { log: log.clone(), reload: control, otlp, ..options::of_server(settings) };
    let listeners = listen(sockets.clients, settings.read_only.value, loaded)?;
    let served: Vec<_> = listeners.iter().map(|listener| (listener.tls.is_some(), listener.bounds)).collect();
    let metrics = bind::listen_for_metrics(sockets.metrics)?;
    // Its file goes when this function ends.
    let (_socket, admin) = AdminSocket::listen(settings, sockets.admin)?.unzip();
    let credentials = Arc::clone(&loaded.credentials);
    let server = Server::start(listeners, metrics, admin, Arc::clone(cache), credentials, &options, async {
        // An error means that the sender is gone, and then it is time to stop as well.
        let _ = asked_to_stop.await;
    })
    .map_err(|error| Failure::new(Code::Failed, format!("the server cannot be started: {error}"), ""))?;
    let served: Vec<_> = (server.addresses().iter().zip(served))
        .map(|(address, (tls, bounds))| Served { address: *address, tls, bounds })
        .collect();
    greet(settings, cache, &served, server.metrics_address());
    notify::ready(&serving(&served));
    tokio::spawn(notify::alive());

    let serving = Serving { cache, server: &server, loaded, log: &log };
    let follow = async {
        tokio::select! {
            never = loaded.follow() => never,
            never = loaded.have_issued(sockets.challenges) => never,
            never = reload.run(asked, &serving) => never,
        }
    };
    let Err(name) = signals.unless(follow).await;
    let drain = reload.drain();
    tracing::info!(
        "{name}: ending, with {} s for what is under way; once more ends at once",
        drain.as_secs()
    );
    notify::stopping(drain + DRAIN_GRACE + CLOSE, "ending, with some time for what is under way");
    signals.insist();
    drop(shutdown);
    if timeout(drain + DRAIN_GRACE, server.finished()).await.is_err() {
        tracing::warn!("connections were still open after {} s and have been dropped", drain.as_secs());
    }
    Ok(())
}

/// For the service manager.
fn serving(served: &[Served]) -> String {
    let addresses: Vec<_> = served.iter().map(|served| served.address.to_string()).collect();
    format!("serving at {}", addresses.join(", "))
}

async fn open(settings: &Settings) -> Result<Arc<Cache>, Failure> {
    let options = options::of_cache(settings);
    let (cache, opened) = Cache::open(options).await.map_err(|error| not_opened(settings, &error))?;
    if let Some((found, known)) = opened.upgraded {
        tracing::warn!(
            "the catalog was raised from format {found} to {known}: versions that do not know that format cannot open this volume any more"
        );
    }
    for finding in opened.findings {
        tracing::warn!("{finding}");
    }
    // A volume that was made just now has had no stop at all.
    let figures = cache.figures();
    if !opened.clean && figures.blobs + figures.names > 0 {
        tracing::info!("the last stop was not a clean one; the volume has been recovered");
    }
    Ok(Arc::new(cache))
}

fn listen(bound: Vec<Bound>, read_only: bool, loaded: &Loaded) -> Result<Vec<Listener>, Failure> {
    let open = |bound: Bound| {
        let Bounds { most, anonymous } = bound.asked().bounds();
        let at_most = if read_only { Rights::Pull } else { most };
        let bounds = Bounds { most: most.min(at_most), anonymous: anonymous.min(at_most) };
        let tls = loaded.tls.clone().filter(|_| bound.asked().tls.value);
        let drops_writes = bound.asked().denied_writes.value.0;
        let proxies = proxies(bound.asked());
        bound.listen().map(|socket| Listener { socket, bounds, tls, proxies, drops_writes })
    };
    bound.into_iter().map(open).collect()
}

fn proxies(asked: &config::Listener) -> Proxies {
    Proxies {
        networks: asked.proxies.as_ref().map_or_else(Vec::new, |proxies| proxies.value.0.clone()),
        protocol: asked.proxy_protocol.value,
        certificate_header: asked.certificate_header.as_ref().map(|header| header.value.0.clone()),
        address_header: asked.address_header.as_ref().map(|header| header.value.0.clone()),
    }
}

fn greet(settings: &Settings, cache: &Cache, served: &[Served], metrics: Option<SocketAddr>) {
    let figures = cache.figures();
    let data = options::absolute(&settings.data.value);
    let (used, limit) = (Size(figures.used_bytes), Size(figures.limit_bytes));
    let room = Room::of(&data);
    let keep_free = settings.keep_free.as_ref().map(|size| size.value);
    if let Some(warning) = room.and_then(|room| room.too_little_for(limit, used, keep_free)) {
        tracing::warn!("{warning}");
    }
    let system = rustix::system::uname();
    // What is certified elsewhere may be called otherwise than this machine.
    let tls = served.iter().any(|served| served.tls);
    let elsewhere = tls.then(|| settings.certified_elsewhere()?.into_iter().next()).flatten();
    let own = tls && settings.certifies_itself();
    let keys = own.then(|| ServerKeys::load(&settings.keys.value).ok()).flatten();
    let authority = options::absolute(&settings.keys.value.join("ca.crt"));
    let name = keys.as_ref().and_then(|keys| keys.names.first());
    let issuers = settings.issuers.iter().map(|issuer| format!("issuer {}", issuer.name.value.0));
    let authorities =
        settings.authorities.iter().map(|authority| format!("authority {}", authority.name.value));
    let vouching: Vec<_> = issuers.chain(authorities).collect();
    let greeting = Greeting {
        data: &data,
        used,
        limit,
        free: room.map(|room| Size(room.free)),
        lease: settings.lease.value,
        read_only: settings.read_only.value,
        instances: &settings.instances,
        listeners: served,
        metrics,
        host: &elsewhere.map_or_else(|| system.nodename().to_string_lossy(), Cow::Owned),
        certified: name.map(|name| (name.as_str(), authority.as_path())),
        vouching: &vouching,
    };
    // Nobody has to be reading for the server to serve.
    let _ = io::stderr().write_all(greeting.to_string().as_bytes());
}

async fn close(cache: &Cache) -> Result<(), Failure> {
    if timeout(CLOSE, cache.close()).await.is_ok() {
        tracing::info!("ended: the volume is closed");
        return Ok(());
    }
    Err(Failure::new(
        Code::Failed,
        format!("the volume was not closed within {} s", CLOSE.as_secs()),
        "nothing that was acknowledged is lost; the next start takes a little longer",
    ))
}

/// Each reason why a volume does not open, with its remedy.
pub(crate) fn not_opened(settings: &Settings, error: &OpenError) -> Failure {
    let Given { value: data, place } = &settings.data;
    let (data, place) = (data.display(), place.name());
    match error {
        OpenError::InUse { pid } => Failure::new(
            Code::VolumeInUse,
            format!(
                "{data} is in use by {}",
                pid.map_or("another process".into(), |pid| format!("process {pid}"))
            ),
            format!("end that process first, or give another directory as {place}"),
        ),
        OpenError::NewerFormat { found, known } => Failure::new(
            Code::NewerFormat,
            format!("{data} has format {found}, and this version knows formats up to {known}"),
            "use the version that wrote it, or a newer one; a volume is never taken back to an older format",
        ),
        OpenError::OlderFormat { found, known } => Failure::new(
            Code::Usage,
            format!(
                "{data} has a catalog of format {found}; this version would raise it to {known}, and earlier ones could not open it \
                 any more"
            ),
            "back it up with the version that wrote it (`millpond backup`), which is the only way back; then start without --no-upgrade",
        ),
        OpenError::NotWritable(cause) => Failure::new(
            Code::NotWritable,
            format!("{data} cannot be made or written: {cause}"),
            format!(
                "let the user that this runs as (number {}) own it and its file system be writable, or give another as {place}",
                rustix::process::geteuid().as_raw()
            ),
        ),
        OpenError::Invalid(sentence) => {
            Failure::new(Code::Usage, sentence.clone(), "see `millpond serve --help`")
        }
        OpenError::Full { .. } => Failure::new(
            Code::Failed,
            format!("{data} cannot be opened: {error}"),
            "make room for a few megabytes on its file system, and start again",
        ),
        OpenError::Other(cause) => {
            Failure::new(Code::Failed, format!("{data} cannot be opened: {}", chain(&**cause)), "")
        }
    }
}

/// The failure when the machine gives no threads.
pub(crate) fn no_runtime(error: io::Error) -> Failure {
    Failure::new(
        Code::Failed,
        format!("threads cannot be started: {error}"),
        "raise the limit on processes of this user",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_not_to_open_has_its_code_and_a_remedy() {
        let cases = [
            (OpenError::InUse { pid: Some(42) }, Code::VolumeInUse, "process 42"),
            (OpenError::NewerFormat { found: 9, known: 1 }, Code::NewerFormat, "format 9"),
            (OpenError::OlderFormat { found: 1, known: 3 }, Code::Usage, "would raise it to 3"),
            (
                OpenError::NotWritable(io::ErrorKind::ReadOnlyFilesystem.into()),
                Code::NotWritable,
                "read-only",
            ),
            (OpenError::Full { used: 9, limit: 10 }, Code::Failed, "9 of 10 bytes"),
        ];
        let settings = Settings { data: Given::by_flag("--data", "/srv/pond".into()), ..Settings::default() };
        for (error, code, part) in cases {
            let failure = not_opened(&settings, &error);
            assert_eq!(failure.exit_code(), std::process::ExitCode::from(code as u8), "{failure}");
            let text = failure.to_string();
            assert!(text.contains("/srv/pond") && text.contains(part) && text.contains("\nhint: "), "{text}");
        }
    }
}
