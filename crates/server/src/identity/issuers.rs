//! Issuers whose tokens are taken: keeping their keys fresh while the server runs.
//!
//! Each issuer has one task that fetches its keys, now and then and when a token names a key that is not known. No call
//! fetches anything, and only a call whose own token lacks a key waits for one.
//!
//! **Invariant:** tokens cause at most one fetch of an issuer's keys in [`ASKED_AT_MOST`], however many there are.
//! **Invariant:** a fetch that fails changes nothing: keys that were known go on to count.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond_identity::jwt::{CONFIGURATION_PATH, Issuer, Issuers, KeySet, keys_location};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::fetch::{self, Client};
use crate::location::Location;
use crate::metrics::CredentialMetrics;

/// How often keys are fetched when nobody asks.
const REFRESH: Duration = Duration::from_secs(15 * 60);
/// How long after a fetch that failed the next one is tried; twice that after the next failure.
const RETRY: Duration = Duration::from_secs(5);
/// But no longer than this.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);
/// How often tokens whose key is not known may have keys fetched.
const ASKED_AT_MOST: Duration = Duration::from_secs(10);
/// How many calls may wait for the keys of one issuer. A call that waits holds its headers.
const WAITING_MAX: usize = 1000;

/// An issuer whose tokens are taken, and where its keys are.
#[derive(Debug)]
pub struct TrustedIssuer {
    /// What its tokens have to be, and what they allow.
    pub issuer: Issuer,
    /// Its own URL.
    pub location: Location,
    /// Where its keys are, if that is not to be asked at its URL.
    pub keys: Option<Location>,
    /// Certificates in PEM of those who vouch for it, if it is not to be those whom the system trusts.
    pub authorities: Option<Vec<u8>>,
}

/// Where the keys of one issuer come from.
pub(super) struct Source {
    /// Which it is of [`Issuers`].
    number: usize,
    name: String,
    url: String,
    location: Location,
    keys: Option<Location>,
    client: Client,
    progress: watch::Sender<Progress>,
    asked: Notify,
    asked_last: Mutex<Option<Instant>>,
    waiting: Semaphore,
}

/// How far fetching has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Fetches that have ended, well or not.
    ended: u64,
    under_way: bool,
}

impl Source {
    /// Of the issuer of that number.
    ///
    /// # Errors
    /// What is wrong with the certificates of those who vouch for it.
    pub(super) fn new(number: usize, trusted: TrustedIssuer) -> Result<Self, String> {
        let TrustedIssuer { issuer, location, keys, authorities } = trusted;
        Ok(Self {
            number,
            name: issuer.name,
            url: issuer.url,
            location,
            keys,
            client: Client::new(authorities.as_deref())?,
            // The first fetch is due at once.
            progress: watch::Sender::new(Progress { ended: 0, under_way: true }),
            asked: Notify::new(),
            asked_last: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
        })
    }

    /// What the operator calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Fetches keys for as long as it is polled.
    pub(super) async fn follow(&self, issuers: &Issuers, metrics: &CredentialMetrics) {
        let (mut retry, mut reachable) = (RETRY, false);
        loop {
            self.progress.send_modify(|progress| progress.under_way = true);
            let fetched = self.fetch().await;
            let pause = match fetched {
                Ok(keys) => {
                    let keys_now = keys.count();
                    if std::mem::replace(&mut reachable, true) {
                        tracing::debug!(
                            issuer = self.name,
                            keys_now,
                            "the keys of an issuer were fetched again"
                        );
                    } else {
                        tracing::info!(issuer = self.name, keys_now, "the keys of an issuer were fetched");
                    }
                    issuers.replace_keys(self.number, keys);
                    metrics.set_keys(&self.name, keys_now);
                    retry = RETRY;
                    REFRESH
                }
                Err(error) => {
                    metrics.count_failed_fetch(&self.name);
                    // Seldom enough to be told each time, of each issuer.
                    tracing::warn!(issuer = self.name, error, "the keys of an issuer cannot be fetched");
                    reachable = false;
                    let pause = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    pause
                }
            };
            self.progress.send_modify(|progress| {
                *progress = Progress { ended: progress.ended.wrapping_add(1), under_way: false };
            });
            tokio::select! {
                () = sleep(pause) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let discovered;
        let keys = match &self.keys {
            Some(keys) => keys,
            None => {
                let document = self.client.get(&self.location.below(CONFIGURATION_PATH)).await?;
                discovered = keys_location(&self.url, &document)?.parse::<Location>()?;
                // What somebody on this machine serves is no word of an issuer who speaks TLS.
                if self.location.tls && !discovered.tls {
                    return Err(format!("{discovered}: its keys must be had by https:// as well"));
                }
                &discovered
            }
        };
        let found = KeySet::read(&self.client.get(keys).await?);
        found.map_err(|error| format!("{keys}: {error}"))
    }

    /// Waits for keys that are newer than now, if they may be had; not for long.
    pub(super) async fn newer_keys(&self) {
        let Ok(_place) = self.waiting.try_acquire() else { return };
        let mut progress = self.progress.subscribe();
        let Progress { ended, under_way } = *progress.borrow_and_update();
        if !under_way {
            if !self.may_ask() {
                return;
            }
            // Whoever comes before the task wakes waits with this one.
            self.progress.send_modify(|progress| progress.under_way = true);
            self.asked.notify_one();
        }
        // That it takes longer, or that the server ends, is the same as that nothing came of it.
        let _ = timeout(fetch::TIME * 2, progress.wait_for(|progress| progress.ended != ended)).await;
    }

    fn may_ask(&self) -> bool {
        let mut last = self.asked_last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < ASKED_AT_MOST) {
            return false;
        }
        *last = Some(Instant::now());
        true
    }
}

/// Where the keys of all issuers come from, each with its number.
pub(super) fn sources(trusted: Vec<TrustedIssuer>) -> Result<Vec<Arc<Source>>, String> {
    let source = |(number, trusted): (usize, TrustedIssuer)| {
        let name = trusted.issuer.name.clone();
        Source::new(number, trusted).map(Arc::new).map_err(|error| format!("issuer {name}: {error}"))
    };
    trusted.into_iter().enumerate().map(source).collect()
}
