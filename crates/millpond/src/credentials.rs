//! The certificate that the server presents, and whom it knows: read at the start, and again when a file changes.
//!
//! Files are looked at each second, not watched: a secret that a container engine mounts changes by a link being renamed
//! somewhere above it.

use std::convert::Infallible;
use std::fs;
use std::future::pending;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use millpond_cache::{Changing, Clock, Grant, now_and_then};
use millpond_identity::public_name::stand_in;
use millpond_identity::{AuthorityTerms, Credential, Expiring, Identities, Presented};
use millpond_server::{Acme, AcmeWanted, Answers, Credentials, Tls, TrustedIssuer, answer_challenges};
use tokio::time::{Instant, sleep};

use crate::config::{self, Allowed, Authority, Given, Issuer, Patterns, Settings};
use crate::exit::{Code, Failure};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What expires within this is warned of.
const AHEAD_SECONDS: u64 = 30 * 24 * 3600;
/// And again after this.
const WARN_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How long before its end the metrics say that the server's own certificate is to be replaced.
const DUE_SECONDS: u64 = 14 * 24 * 3600;

/// What was read, and from where.
pub(crate) struct Loaded {
    /// For listeners that speak TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Whom the server knows.
    pub(crate) credentials: Arc<Credentials>,
    /// Who has the certificate issued, and what answers for it.
    acme: Option<(Acme, Answers)>,
    sources: Changing<Sources>,
    seen: Mutex<Seen>,
}

/// The files as they were before they were read.
#[derive(Clone)]
struct Seen {
    served: [Stamp; 2],
    known: Vec<Stamp>,
}

/// The files.
#[derive(Clone, PartialEq, Eq)]
struct Sources {
    keys: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// An ACME authority issues them, which takes a while: until they are there, something else stands in for them.
    stand_in: Option<Vec<String>>,
    authorized: Option<Given<PathBuf>>,
    authorized_allow: Allowed,
    authorities: Vec<Authority>,
}

/// What tells one content of a file from another, without reading it; `None` if it is not there.
pub(crate) type Stamp = Option<(u64, i64, i64, u64)>;

impl Loaded {
    /// Reads what the settings name. The certificate must be there if a listener speaks TLS.
    pub(crate) fn read(settings: &Settings) -> Result<Self, Failure> {
        let domains = settings.acme.as_ref().and_then(|acme| acme.domains.as_ref());
        let sources = Sources {
            keys: settings.keys.value.clone(),
            certificate: settings.certificate_file(),
            key: settings.key_file(),
            stand_in: domains.map(|domains| domains.value.0.clone()),
            authorized: settings.authorized.clone(),
            authorized_allow: settings.authorized_allow.value,
            authorities: settings.authorities.clone(),
        };
        // Before anything is read: what changes from here on is read again.
        let seen = Seen { served: sources.of_the_server().map(stamp), known: sources.of_clients() };
        let speaks = settings.listeners.iter().any(|listener| listener.tls.value);
        let acme =
            settings.acme.as_ref().filter(|_| speaks).map(|acme| self::acme(acme, settings)).transpose()?;
        let answers = acme.as_ref().map(|(_, answers)| answers.clone());
        let tls = if speaks { Some(Arc::new(sources.tls(answers)?)) } else { None };
        let mut identities = sources.issued()?;
        sources.add_authorized(&mut identities)?;
        sources.add_authorities(&mut identities)?;
        let trusted = settings.issuers.iter().map(trusted).collect::<Result<_, _>>()?;
        let credentials = Credentials::new(identities, trusted).map_err(|error| {
            Failure::new(Code::Usage, error, "give certificates in PEM as ca, or leave it out")
        })?;
        let credentials = Arc::new(credentials);
        Ok(Self { tls, credentials, acme, sources: Changing::new(sources), seen: Mutex::new(seen) })
    }

    /// Takes up what changes, for as long as it is polled. What cannot be read changes nothing, and is tried again.
    pub(crate) async fn follow(&self) -> Infallible {
        let mut warned: Option<Instant> = None;
        loop {
            if warned.is_none_or(|at| at.elapsed() > WARN_AGAIN) {
                self.look_at_expiry();
                warned = Some(Instant::now());
            }
            if self.look() {
                warned = None;
            }
            sleep(LOOK).await;
        }
    }

    /// Goes over to what `other` was read from, and takes up what that has, as far as a running server can.
    pub(crate) fn go_over(&self, other: Self) {
        let (mut sources, before) = (Sources::clone(&other.sources.now()), self.sources.now());
        if sources.stand_in.is_some() || before.stand_in.is_some() {
            // Who issues it counts from a start on.
            (sources.certificate, sources.key) = (before.certificate.clone(), before.key.clone());
            sources.stand_in.clone_from(&before.stand_in);
        }
        if sources == *before {
            return;
        }
        self.sources.change(sources);
        // Whatever it is, it is read anew.
        *self.seen() = Seen { served: [None; 2], known: Vec::new() };
        self.look();
    }

    /// Has the certificate issued and renewed, for as long as it is polled, if it is an ACME authority's.
    pub(crate) async fn have_issued(&self, challenges: Option<TcpListener>) -> Infallible {
        let Some((acme, answers)) = &self.acme else { return pending().await };
        let answer = async {
            if let Some(socket) = challenges
                && let Err(error) = answer_challenges(socket, answers.clone()).await
            {
                tracing::warn!(%error, "the challenges of an ACME authority cannot be answered");
            }
            pending().await
        };
        tokio::select! {
            never = acme.run() => never,
            never = answer => never,
        }
    }

    /// Takes up what has changed; whether anything was.
    fn look(&self) -> bool {
        let sources = self.sources.now();
        let mut seen = self.seen();
        let mut any = false;
        let now = sources.of_the_server().map(stamp);
        if let Some(tls) = self.tls.as_ref().filter(|_| now != seen.served)
            && self.renew(&sources, tls)
        {
            seen.served = now;
            any = true;
        }
        let now = sources.of_clients();
        if now != seen.known && self.replace(&sources) {
            seen.known = now;
            any = true;
        }
        any
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns of what expires soon, and tells the metrics.
    fn look_at_expiry(&self) {
        let now = Clock::unix_seconds();
        let presented = self.tls.as_ref().and_then(|_| self.sources.now().presented());
        let served = presented.as_ref().map(|presented| presented.not_after);
        let due = presented.as_ref().map(|presented| presented.late_from(DUE_SECONDS));
        // One that is renewed a third of its time before its end, by itself, is late when half of that is over.
        let told_from = presented.map(|presented| match self.acme {
            Some(_) => presented.late_from(AHEAD_SECONDS),
            None => presented.not_after.saturating_sub(AHEAD_SECONDS),
        });
        if let Some(not_after) = served.filter(|_| told_from.is_some_and(|from| from <= now)) {
            let expires = if not_after < now { "expired" } else { "expires" };
            let remedy = match self.acme {
                Some(_) => "it is asked for again and again, and what comes of that is in this log",
                None => "`millpond keys renew server` makes another, if it is of Millpond's own making",
            };
            tracing::warn!(
                "this server's certificate {expires} on {}: {remedy}",
                millpond_identity::day(not_after)
            );
        }
        let others = self.credentials.expiring(AHEAD_SECONDS, now);
        for Expiring { name, what, not_after } in &others {
            let what = match what {
                Credential::Certificate => "certificate",
                Credential::Token => "token",
                Credential::Authority => "authority's own certificate",
            };
            tracing::warn!("the {what} of {name} expires on {}", millpond_identity::day(*not_after));
        }
        let due = due.or_else(|| self.tls.is_some().then_some(now));
        self.credentials.say_expiry(served, due, others.len());
    }

    fn renew(&self, sources: &Sources, tls: &Tls) -> bool {
        let renewed = sources.pems().and_then(|(chain, key)| {
            tls.renew(&chain, &key).map_err(|error| sources.unusable(&error.to_string()))
        });
        match &renewed {
            Ok(()) => tracing::info!("the server's certificate was read anew"),
            Err(failure) => now_and_then!(error, "the former certificate goes on: {}", failure.sentence()),
        }
        renewed.is_ok()
    }

    /// Each of the sources for itself: that one cannot be read must not keep alive what was revoked in the other.
    fn replace(&self, sources: &Sources) -> bool {
        let mut identities = match sources.issued() {
            Ok(identities) => identities,
            Err(failure) => {
                now_and_then!(error, "the former identities go on: {}", failure.sentence());
                return false;
            }
        };
        let authorized = sources.add_authorized(&mut identities);
        let added = sources.add_authorities(&mut identities).and(authorized);
        self.credentials.replace(identities);
        match &added {
            Ok(()) => tracing::info!("identities were read anew"),
            Err(failure) => now_and_then!(
                error,
                "identities were read anew, without those of a file that cannot be read: {}",
                failure.sentence()
            ),
        }
        added.is_ok()
    }
}

/// The certificates of those who vouch for somebody.
fn vouching(Given { value: path, place }: &Given<PathBuf>) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let sentence = format!("{place}: {} cannot be read: {error}", path.display());
        Failure::new(Code::Usage, sentence, "give a file of certificates in PEM that this user may read")
    })
}

/// Who has the certificate issued.
fn acme(given: &config::Acme, settings: &Settings) -> Result<(Acme, Answers), Failure> {
    let account_key = |Given { value: path, place }: &Given<PathBuf>| {
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| format!("{place}: {} cannot be read: {error}", path.display()));
        let hint = "give a file with the key as the authority gave it, in Base64";
        let key = text.and_then(|text| {
            let key = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
            let decoded = BASE64URL_NOPAD.decode(key.as_bytes());
            decoded.map_err(|_| format!("{place}: {} holds no key in Base64", path.display()))
        });
        key.map_err(|sentence| Failure::new(Code::Usage, sentence, hint))
    };
    let account = match (&given.account_id, &given.account_key_file) {
        (Some(id), Some(file)) => Some((id.value.clone(), account_key(file)?)),
        _ => None,
    };
    let wanted = AcmeWanted {
        directory: given.directory.value.location.clone(),
        authorities: given.ca.as_ref().map(vouching).transpose()?,
        names: given.domains.as_ref().map_or_else(Vec::new, |domains| domains.value.0.clone()),
        contact: given.contact.as_ref().map(|contact| contact.value.clone()),
        challenge: given.challenge.value.0,
        renew_before: given
            .renew_before
            .as_ref()
            .map(|before| Duration::from_secs(before.value.seconds.into())),
        external_account: account,
    };
    let answers = Answers::default();
    let acme = Acme::new(wanted, &settings.keys.value, answers.clone()).map_err(|error| {
        let place = given.ca.as_ref().map(|ca| format!("{}: ", ca.place)).unwrap_or_default();
        Failure::new(
            Code::Usage,
            format!("{place}{error}"),
            "give certificates in PEM as ca, or leave it out",
        )
    })?;
    Ok((acme, answers))
}

/// An issuer with what it is known by.
fn trusted(issuer: &Issuer) -> Result<TrustedIssuer, Failure> {
    Ok(TrustedIssuer {
        issuer: issuer.trusted(),
        location: issuer.url.value.location.clone(),
        keys: issuer.jwks_url.as_ref().map(|url| url.value.location.clone()),
        authorities: issuer.ca.as_ref().map(vouching).transpose()?,
    })
}

impl Sources {
    fn of_the_server(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }

    fn of_clients(&self) -> Vec<Stamp> {
        let authorities = (self.authorities.iter())
            .flat_map(|authority| [Some(&authority.certificates), authority.revoked.as_ref()]);
        let files = [self.authorized.as_ref()].into_iter().chain(authorities).flatten();
        let issued = stamp(self.keys.join("identities.json"));
        [issued].into_iter().chain(files.map(|given| stamp(&given.value))).collect()
    }

    fn pems(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        Ok((self.pem(&self.certificate)?, self.pem(&self.key)?))
    }

    fn pem(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        fs::read(path).map_err(|error| {
            let hint = if error.kind() == ErrorKind::NotFound {
                format!(
                    "`millpond keys init NAME --keys {}` makes a certificate for the name that clients connect to; one \
                     that you have is given as certificate and key in [identity]",
                    self.keys.display()
                )
            } else {
                "run the server as a user who may read it, or name another file".to_owned()
            };
            let sentence = format!("TLS is asked for, and {} cannot be read: {error}", path.display());
            Failure::new(Code::Usage, sentence, hint)
        })
    }

    fn tls(&self, answers: Option<Answers>) -> Result<Tls, Failure> {
        if let Some(names) = &self.stand_in {
            if self.certificate.exists() {
                let kept = self.pems().and_then(|(chain, key)| {
                    Tls::answering(&chain, &key, answers.clone())
                        .map_err(|error| self.unusable(&error.to_string()))
                });
                match kept {
                    Ok(tls) => return Ok(tls),
                    Err(failure) => tracing::warn!("{}", failure.sentence()),
                }
            }
            let (chain, key) = stand_in(names).map_err(|error| {
                Failure::new(Code::Usage, error.to_string(), "write other names as domains")
            })?;
            tracing::info!("until its certificate is issued, this server shows one that no client trusts");
            return Tls::answering(chain.as_bytes(), key.as_bytes(), answers)
                .map_err(|error| self.unusable(&error.to_string()));
        }
        let (chain, key) = self.pems()?;
        if fs::metadata(&self.key).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
            tracing::warn!("others on this machine may read the private key {}", self.key.display());
        }
        Tls::answering(&chain, &key, answers).map_err(|error| self.unusable(&error.to_string()))
    }

    fn unusable(&self, reason: &str) -> Failure {
        Failure::new(
            Code::Usage,
            format!("{} and {}: {reason}", self.certificate.display(), self.key.display()),
            "give a certificate in PEM and the private key that belongs to it",
        )
    }

    fn issued(&self) -> Result<Identities, Failure> {
        Identities::load(&self.keys)
            .map_err(|error| Failure::new(Code::Usage, error.to_string(), error.remedy()))
    }

    fn add_authorized(&self, to: &mut Identities) -> Result<(), Failure> {
        let Some(Given { value: path, place }) = &self.authorized else { return Ok(()) };
        let failed = |reason: String| {
            let hint = "give a file of client certificates in PEM, one below the other";
            Failure::new(Code::Usage, format!("{place}: {} {reason}", path.display()), hint)
        };
        let pem = fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        let added = to.add_authorized(&pem, Grant::everywhere(self.authorized_allow.0));
        added.map(drop).map_err(|error| failed(format!("is no such file: {error}")))
    }

    /// One that cannot be read vouches for nobody, and the others go on.
    fn add_authorities(&self, to: &mut Identities) -> Result<(), Failure> {
        let read = |Given { value: path, place }: &Given<PathBuf>| {
            fs::read(path).map_err(|error| {
                let sentence = format!("{place}: {} cannot be read: {error}", path.display());
                Failure::new(Code::Usage, sentence, "give a file in PEM that the server's user may read")
            })
        };
        let mut outcome = Ok(());
        for authority in &self.authorities {
            let added = read(&authority.certificates).and_then(|certificates| {
                let revoked = authority.revoked.as_ref().map(read).transpose()?;
                let added = to.add_authority(&certificates, revoked.as_deref(), terms(authority));
                added.map_err(|error| {
                    let given = match (&error, &authority.revoked) {
                        (millpond_identity::Error::Lists(_), Some(revoked)) => revoked,
                        _ => &authority.certificates,
                    };
                    let sentence = format!("{}: {}: {error}", given.place, given.value.display());
                    Failure::new(Code::Usage, sentence, error.remedy())
                })
            });
            outcome = outcome.and(added);
        }
        outcome
    }

    /// What the server's certificate says.
    fn presented(&self) -> Option<Presented> {
        Presented::read(&fs::read(&self.certificate).ok()?).ok()
    }
}

fn terms(authority: &Authority) -> AuthorityTerms {
    let patterns = |given: &Option<Given<Patterns>>| {
        given.as_ref().map_or_else(Vec::new, |patterns| patterns.value.0.clone())
    };
    AuthorityTerms {
        name: authority.name.value.clone(),
        subjects: patterns(&authority.subjects),
        grant: Grant {
            rights: authority.allow.value.0,
            instances: patterns(&authority.instances),
            names: patterns(&authority.names),
        },
    }
}

/// That of a file as it is now.
pub(crate) fn stamp(path: impl AsRef<Path>) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}
