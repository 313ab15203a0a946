//! Reading the configuration anew while the server runs: at SIGHUP, when an operator asks, and when the file has changed if that
//! is set.
//!
//! **Invariant:** a configuration that a start would refuse changes nothing. What a running server cannot take up counts from the
//! next start on, and is named each time until then.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use millpond_cache::{Cache, Client, Deed};
use millpond_server::{ChangedSetting, LogControl, ReloadAsked, Reloaded, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use crate::config::{Difference, Flags, Printed, Settings};
use crate::credentials::{Loaded, Stamp, stamp};
use crate::exit::{Code, Failure};
use crate::size::Size;
use crate::{logging, options, otlp};

/// How often the file is looked at, if it is. What changed is read once it has been the same for as long.
const LOOK: Duration = Duration::from_secs(1);

/// What is changed.
pub(crate) struct Serving<'s> {
    pub(crate) cache: &'s Cache,
    pub(crate) server: &'s Server,
    pub(crate) loaded: &'s Loaded,
    pub(crate) log: &'s LogControl,
}

/// Who reads the configuration anew.
pub(crate) struct Reload {
    flags: Flags,
    running: Printed,
    hangups: Signal,
    watch: bool,
    /// The file as it was before it was last read.
    seen: Stamp,
    drain: Duration,
}

impl Reload {
    /// From here on SIGHUP does not end the process any more; what comes before [`Reload::run`] is heard there.
    pub(crate) fn begin(flags: Flags, settings: &Settings) -> Result<Self, Failure> {
        let hangups = signal(SignalKind::hangup()).map_err(|error| {
            Failure::new(Code::Failed, format!("signals cannot be waited for: {error}"), "")
        })?;
        let seen = flags.config.as_ref().and_then(stamp);
        let (running, watch) = (Printed::of(settings), settings.watch.value);
        Ok(Self { flags, running, hangups, watch, seen, drain: options::drain(settings) })
    }

    /// For how long calls under way may go on at the end, as it is set now.
    pub(crate) fn drain(&self) -> Duration {
        self.drain
    }

    /// Does it whenever there is reason to, for as long as it is polled.
    pub(crate) async fn run(
        &mut self,
        mut asked: Receiver<ReloadAsked>,
        serving: &Serving<'_>,
    ) -> Infallible {
        loop {
            let watched = self.flags.config.clone().filter(|_| self.watch);
            tokio::select! {
                _ = self.hangups.recv() => self.unasked("SIGHUP", serving).await,
                Some(asked) = asked.recv() => {
                    let ReloadAsked { by, dry_run, answer } = asked;
                    let reloaded = if dry_run {
                        self.look(serving).await
                    } else {
                        self.take_up(Some(&by), serving).await
                    };
                    // Whoever went away will see what is in force.
                    let _ = answer.send(reloaded.map_err(|failure| failure.in_one()));
                }
                () = change(watched.as_deref(), self.seen) => self.unasked("a change of the file", serving).await,
            }
        }
    }

    async fn unasked(&mut self, why: &str, serving: &Serving<'_>) {
        tracing::info!("the configuration is read anew, for {why}");
        if let Err(failure) = self.take_up(None, serving).await {
            tracing::error!("the configuration stays as it was: {}", failure.in_one());
        }
    }

    /// All that a start would read before it makes anything.
    fn read(&self) -> Result<(Settings, Loaded), Failure> {
        let settings = Settings::load(self.flags.clone())?;
        let loaded = Loaded::read(&settings)?;
        otlp::of(&settings)?;
        Ok((settings, loaded))
    }

    /// What would be taken up.
    async fn look(&self, serving: &Serving<'_>) -> Result<Reloaded, Failure> {
        let (settings, _) = self.read()?;
        self.told(&settings, serving.cache).await
    }

    async fn told(&self, settings: &Settings, cache: &Cache) -> Result<Reloaded, Failure> {
        let differences = self.running.differences(&Printed::of(settings));
        let (at_next_start, taken_up): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(Difference::counts_at_start);
        let mut warnings = settings.warnings.clone();
        if self.flags.config.is_none() {
            warnings.push("the server was started without --config, so there is no file to be read".into());
        }
        if taken_up
            .iter()
            .any(|setting| (setting.section.as_str(), setting.key.as_str()) == ("[store]", "max_size"))
        {
            let excess = cache.excess_with(options::of_cache(settings)).await.map_err(refused)?;
            if excess > 0 {
                warnings.push(format!(
                    "letting go begins: {} of blobs are more than max_size has room for, and go, what was used least recently first, \
                     but for what the lease, a rule or a pin keeps",
                    Size(excess)
                ));
            }
        }
        let setting =
            |Difference { section, key, before, after }| ChangedSetting { section, key, before, after };
        Ok(Reloaded {
            taken_up: taken_up.into_iter().map(setting).collect(),
            at_next_start: at_next_start.into_iter().map(setting).collect(),
            warnings,
        })
    }

    async fn take_up(&mut self, by: Option<&Client>, serving: &Serving<'_>) -> Result<Reloaded, Failure> {
        // Before it is read: what changes from here on is another change.
        self.seen = self.flags.config.as_ref().and_then(stamp);
        let (settings, loaded) = self.read()?;
        let Serving { cache, server, log, .. } = serving;
        let reloaded = self.told(&settings, cache).await?;
        cache.change(options::of_cache(&settings)).await.map_err(refused)?;
        server.change(&options::of_server(&settings), cache);
        serving.loaded.go_over(loaded);
        if reloaded.taken_up.iter().any(|setting| setting.section == "[log]") {
            logging::follow(log, &settings)?;
        }
        self.drain = options::drain(&settings);
        self.watch = settings.watch.value;
        self.running.take_up(Printed::of(&settings));
        say(&reloaded, by);
        if !reloaded.taken_up.is_empty() {
            let names = named(&reloaded.taken_up).join(", ");
            if let Err(error) = cache.note_setting(Deed::Configured, by, names).await {
                tracing::error!(%error, "what was taken up of the configuration is not in the audit log");
            }
        }
        Ok(reloaded)
    }
}

fn refused(error: millpond_cache::Error) -> Failure {
    Failure::new(Code::Usage, error.to_string(), "")
}

/// In the log, whoever asked.
fn say(reloaded: &Reloaded, by: Option<&Client>) {
    let Reloaded { taken_up, at_next_start, warnings } = reloaded;
    let identity = by.map(|client| client.identity.as_str());
    for ChangedSetting { section, key, before, after } in taken_up {
        tracing::info!(identity, section, key, before, after, "a setting was taken up");
    }
    if !at_next_start.is_empty() {
        let names = named(at_next_start).join(", ");
        tracing::warn!(identity, "what has changed counts from the next start on: {names}");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if taken_up.is_empty() {
        tracing::info!(identity, "the configuration was read anew, with nothing to be taken up");
    }
}

fn named(settings: &[ChangedSetting]) -> Vec<String> {
    settings.iter().map(ToString::to_string).collect()
}

/// Ends once the file is another than `seen`, and has been that for a moment: it may be written in several steps.
async fn change(path: Option<&Path>, seen: Stamp) {
    let Some(path) = path else { return pending().await };
    let mut before = seen;
    loop {
        sleep(LOOK).await;
        let now = stamp(path);
        // While it is away somebody is about to put another in its place.
        if now.is_some() && now != seen && now == before {
            return;
        }
        before = now;
    }
}
