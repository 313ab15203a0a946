//! A certificate of an ACME authority (RFC 8555), had and renewed while the server runs.
//!
//! What is issued is a file, which the server reads anew as it does any other certificate; so nothing of this stands in the way of a
//! connection.
//!
//! **Invariant:** an authority that is away, or refuses, never stops serving: the certificate that is there goes on.
//! **Invariant:** it is asked no more often than [`kept::Attempts`] says, however often the server starts.

pub(crate) mod answers;
mod http;
mod kept;
mod order;

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_cache::Clock;
use millpond_identity::{Presented, day};
use tokio::time::{sleep, timeout};

use self::answers::Answers;
use self::http::Http;
use self::kept::Kept;
use crate::fetch::Client;
use crate::location::Location;

/// How long one order may take.
const ORDER_TIME: Duration = Duration::from_secs(300);
/// Where nothing can be written down, in seconds.
const UNWRITTEN: u64 = 300;
/// The clock is looked at so often.
const LOOK: Duration = Duration::from_secs(60);

/// How it is shown that a name leads here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a TLS handshake at port 443 (RFC 8737).
    TlsAlpn01,
    /// By a document at port 80 (RFC 8555, section 8.3).
    Http01,
}

/// Which certificate, and of whom. A secret is in it, so nothing prints it.
#[derive(Clone)]
pub struct AcmeWanted {
    /// The authority's directory.
    pub directory: Location,
    /// Certificates in PEM of those who vouch for the authority itself, if it is not to be those whom the system trusts.
    pub authorities: Option<Vec<u8>>,
    /// The host names that it is to be for.
    pub names: Vec<String>,
    /// Whom the authority may write to, as an address of e-mail.
    pub contact: Option<String>,
    /// How names are shown to lead here.
    pub challenge: ChallengeKind,
    /// How long before its end it is renewed; without it, a third of the time for which it is valid.
    pub renew_before: Option<Duration>,
    /// What ties an account to one with the authority, if it asks for that (RFC 8555, section 7.3.4): name and key.
    pub external_account: Option<(String, Vec<u8>)>,
}

/// Who has it issued.
pub struct Acme {
    wanted: AcmeWanted,
    kept: Kept,
    http: Http,
    answers: Answers,
    /// When it may be asked again, in Unix seconds, whatever can be written down.
    not_before: AtomicU64,
}

impl Acme {
    /// That keeps what it has below this folder, and answers challenges by `answers`.
    ///
    /// # Errors
    /// What is wrong with the certificates of those who vouch for the authority.
    pub fn new(wanted: AcmeWanted, folder: &Path, answers: Answers) -> Result<Self, String> {
        let http = Http::new(Client::new(wanted.authorities.as_deref())?);
        let kept = Kept::below(folder, &wanted.directory);
        Ok(Self { wanted, kept, http, answers, not_before: AtomicU64::new(0) })
    }

    /// The file that has, or will have, the certificate, those behind it, and its key, in PEM.
    pub fn file(folder: &Path, directory: &Location) -> std::path::PathBuf {
        Kept::below(folder, directory).certificate()
    }

    /// Has it issued, and renewed, for as long as it is polled.
    pub async fn run(&self) -> Infallible {
        loop {
            let wait = self.due_in(Clock::unix_seconds());
            if wait > Duration::ZERO {
                // In pieces: a machine may sleep, and its clock may be set.
                sleep(wait.min(LOOK)).await;
                continue;
            }
            self.attempt().await;
        }
    }

    /// How long until it is to be asked for.
    fn due_in(&self, now: u64) -> Duration {
        let due = match self.kept.presented() {
            Some(presented) if same_names(&presented.names, &self.wanted.names) => self.renewal(&presented),
            _ => 0,
        };
        let noted =
            [self.kept.attempts(&self.wanted.names).not_before, self.not_before.load(Ordering::Relaxed)];
        // No pause is longer than the longest: what says so was noted while the clock was ahead.
        let believed = noted.into_iter().filter(|until| *until <= now.saturating_add(kept::LONGEST));
        Duration::from_secs(believed.fold(due, u64::max).saturating_sub(now))
    }

    /// When it is renewed, in Unix seconds.
    fn renewal(&self, presented: &Presented) -> u64 {
        let valid = presented.not_after.saturating_sub(presented.not_before);
        // A new one is not to be renewed at once: half of its time it serves.
        let before = self.wanted.renew_before.map_or(valid / 3, |before| before.as_secs().min(valid / 2));
        presented.not_after.saturating_sub(before)
    }

    async fn attempt(&self) {
        let (names, now) = (self.wanted.names.join(", "), Clock::unix_seconds());
        // It counts as failed until it has not: whatever comes in between, the authority is left alone then.
        let wait = match self.kept.begin(&self.wanted.names, now) {
            Ok(wait) => wait,
            Err(why) => {
                self.not_before.store(now.saturating_add(UNWRITTEN), Ordering::Relaxed);
                tracing::error!(
                    "no certificate of {names} is asked for, since nothing can be kept of it: {why}"
                );
                return;
            }
        };
        self.not_before.store(now.saturating_add(wait), Ordering::Relaxed);
        self.http.begin();
        tracing::info!(authority = %self.wanted.directory, "asking for a certificate of {names}");
        let order = timeout(ORDER_TIME, self.order()).await;
        let late = || Err(format!("it took longer than {} s", ORDER_TIME.as_secs()));
        let issued = order.unwrap_or_else(|_| late());
        self.answers.forget();
        let stored = match issued {
            Ok(pem) => self.kept.store(&pem, &self.wanted.names, Clock::unix_seconds()),
            Err(why) => Err(why),
        };
        match stored {
            Ok(presented) => {
                tracing::info!("a certificate of {names} was issued, until {}", day(presented.not_after));
                if self.renewal(&presented) > Clock::unix_seconds() {
                    self.kept.succeeded();
                    self.not_before.store(0, Ordering::Relaxed);
                } else {
                    tracing::warn!(
                        "and it would have to be renewed at once: is the clock of this machine right?"
                    );
                }
            }
            Err(why) => {
                let asked_to_wait = self.http.retry_after().min(kept::WAIT_MAX);
                if asked_to_wait > wait {
                    let until = Clock::unix_seconds().saturating_add(asked_to_wait);
                    self.kept.put_off(&self.wanted.names, until);
                    self.not_before.store(until, Ordering::Relaxed);
                }
                let next = Duration::from_secs(wait.max(asked_to_wait));
                tracing::warn!(
                    authority = %self.wanted.directory,
                    "no certificate of {names} was issued: {}; it is asked again in {next:?}",
                    printable(&why)
                );
            }
        }
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Acme").field("names", &self.wanted.names).finish_non_exhaustive()
    }
}

/// What the authority says is told in one line, and not all of it.
fn printable(why: &str) -> String {
    const MOST: usize = 500;
    why.chars().map(|one| if one.is_control() { ' ' } else { one }).take(MOST).collect()
}

fn same_names(one: &[String], other: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        names
    };
    sorted(one) == sorted(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme(folder: &Path, renew_before: Option<Duration>) -> Acme {
        let wanted = AcmeWanted {
            directory: "https://acme.example.org/directory".parse().unwrap(),
            authorities: None,
            names: vec!["b.example.org".into(), "a.example.org".into()],
            contact: None,
            challenge: ChallengeKind::TlsAlpn01,
            renew_before,
            external_account: None,
        };
        Acme::new(wanted, folder, Answers::default()).unwrap()
    }

    #[test]
    fn it_is_due_at_once_and_then_a_third_before_its_end() {
        let presented = Presented {
            names: vec!["a.example.org".into(), "B.example.org".into()],
            not_before: 1000,
            not_after: 10_000,
            count: 2,
            all_until: 10_000,
        };
        let folder = tempfile::tempdir().unwrap();
        let third = acme(folder.path(), None);
        assert_eq!(third.due_in(5), Duration::ZERO);
        assert_eq!(third.renewal(&presented), 7000);
        assert_eq!(acme(folder.path(), Some(Duration::from_secs(100))).renewal(&presented), 9900);
        // Longer than it is valid: else it would be asked for all the time.
        assert_eq!(acme(folder.path(), Some(Duration::from_secs(1 << 40))).renewal(&presented), 5500);
        assert!(same_names(&presented.names, &third.wanted.names));
        assert!(!same_names(&presented.names, &presented.names[..1]));
    }

    #[test]
    fn pause_that_was_noted_while_the_clock_was_ahead_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let acme = acme(folder.path(), None);
        std::fs::create_dir_all(acme.kept.certificate().parent().unwrap()).unwrap();
        let (now, ahead) = (1_800_000_000, 1_900_000_000);
        let wait = acme.kept.begin(&acme.wanted.names, now).unwrap();
        assert_eq!(acme.due_in(now), Duration::from_secs(wait));
        acme.kept.begin(&acme.wanted.names, ahead).unwrap();
        acme.not_before.store(ahead, Ordering::Relaxed);
        assert_eq!(acme.due_in(now), Duration::ZERO);
    }

    /// Otherwise it would be asked again and again, for one more account each time.
    #[tokio::test]
    async fn nobody_is_asked_where_nothing_can_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let acme = acme(folder.path(), None);
        // Where the folder should be there is a file.
        std::fs::write(folder.path().join("acme"), "").unwrap();
        acme.attempt().await;
        assert!(acme.due_in(Clock::unix_seconds()) > Duration::from_secs(UNWRITTEN / 2));
    }

    #[test]
    fn what_an_authority_says_is_one_short_line() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(printable(&"x".repeat(9000)).len(), 500);
    }
}
