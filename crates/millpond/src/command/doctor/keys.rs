//! What the server shows, and whom it knows: that it can be read by nobody else, fits, and does not expire soon.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use millpond_cache::Clock;
use millpond_identity::{Keys, Presented};

use super::finding::Finding;
use super::patient::Patient;
use crate::command::moment;
use crate::config::Settings;
use crate::credentials::Loaded;

const KEYS: &str = "keys";
const CERTIFICATE: &str = "certificate";
const DAY: u64 = 24 * 3600;
/// Warned of so long before a certificate expires; and in the last days it is bad.
const SOON: u64 = 30 * DAY;
const VERY_SOON: u64 = 7 * DAY;

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let settings = &patient.settings;
    let mut findings = private(settings);
    match Loaded::read(settings) {
        Err(failure) => findings.push(Finding::bad(KEYS, failure.sentence(), failure.remedy())),
        Ok(loaded) => {
            findings.extend(expiring(&loaded));
            if findings.is_empty() {
                findings.push(Finding::good(KEYS, known(settings)));
            }
        }
    }
    if settings.listeners.iter().any(|listener| listener.tls.value) {
        findings.push(certificate(settings));
    }
    findings
}

fn known(settings: &Settings) -> String {
    let folder = settings.keys.value.display();
    if settings.keys.value.is_dir() {
        format!("what is in {folder} can be read by its owner alone")
    } else {
        format!("there are none: {folder} is not there, and no listener needs it")
    }
}

/// Private keys that others may read.
fn private(settings: &Settings) -> Vec<Finding> {
    let keys = Keys::at(&settings.keys.value);
    [keys.folder().to_owned(), settings.key_file(), keys.ca_key()]
        .iter()
        .filter_map(|path| open_to_others(path))
        .collect()
}

fn open_to_others(path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    // A folder may be looked into; what matters is in its files.
    let too_much = if path.is_dir() { 0o022 } else { 0o077 };
    (mode & too_much != 0).then(|| {
        let shown = path.display();
        let may = if path.is_dir() { "change" } else { "read" };
        Finding::bad(
            KEYS,
            format!("others on this machine may {may} {shown} (mode {:o})", mode & 0o777),
            format!("`chmod go= {shown}`, and make new keys if somebody may have used that"),
        )
    })
}

fn expiring(loaded: &Loaded) -> Option<Finding> {
    let expiring = loaded.credentials.expiring(SOON, Clock::unix_seconds());
    let first = expiring.first()?;
    Some(
        Finding::look(
            KEYS,
            format!(
                "{} certificates or tokens expire within 30 days, the first of {} on {}",
                expiring.len(),
                first.name,
                millpond_identity::day(first.not_after)
            ),
            "`millpond keys list` and `millpond tokens list` name them; `millpond keys renew NAME` makes another",
        )
        .with("expiring", expiring.len()),
    )
}

fn certificate(settings: &Settings) -> Finding {
    let path = settings.certificate_file();
    let shown = path.display();
    let read = fs::read(&path).map_err(|error| error.to_string());
    let read = read.and_then(|pem| Presented::read(&pem).map_err(|error| error.to_string()));
    let presented = match read {
        Ok(presented) => presented,
        Err(_) if settings.acme.is_some() && !path.exists() => {
            return Finding::look(
                CERTIFICATE,
                format!("no authority has issued one yet, which is to lie at {shown}"),
                "start the server: it asks for one, and its log says why none comes",
            );
        }
        Err(reason) => {
            let remedy = "`millpond keys init NAME` makes one; one that you have is given as certificate in [identity]";
            return Finding::bad(CERTIFICATE, format!("{shown}: {reason}"), remedy);
        }
    };
    let days = presented.all_until.saturating_sub(Clock::unix_seconds()) / DAY;
    judge(&shown.to_string(), &presented, Clock::unix_seconds(), settings.certifies_itself())
        .with("days_left", days)
        .with("names", presented.names.clone())
}

fn judge(path: &str, presented: &Presented, now: u64, is_ours: bool) -> Finding {
    let Presented { names, not_before, not_after, count, all_until } = presented;
    let remedy = if is_ours {
        "`millpond keys renew server` makes another, which a server that runs takes up at once"
    } else {
        "have whoever issues it make another in time; a server that runs takes it up at once"
    };
    let until = moment::written(*all_until);
    if names.is_empty() {
        return Finding::bad(
            CERTIFICATE,
            format!("{path} names no host: clients look for its subjectAltName and for nothing else"),
            "have it made for the names that clients connect to",
        );
    }
    let whose = if all_until < not_after { "one of those that vouch for it" } else { "it" };
    let all = names.join(", ");
    if now < *not_before {
        let from = moment::written(*not_before);
        return Finding::bad(
            CERTIFICATE,
            format!("{path} is valid from {from} on, which is to come"),
            "see the clock",
        );
    }
    if *all_until < now {
        return Finding::bad(CERTIFICATE, format!("{path}: {whose} expired at {until}"), remedy);
    }
    let days = (all_until - now) / DAY;
    let says = format!(
        "{path} is for {all}; {count} in its chain, the first of them to expire does so in {days} days, at {until}"
    );
    // Some authorities issue for days or hours, and whoever asks them does so in time.
    let valid = if is_ours { u64::MAX } else { not_after.saturating_sub(*not_before) };
    if all_until - now < VERY_SOON.min(valid / 6) {
        Finding::bad(CERTIFICATE, says, remedy)
    } else if all_until - now < SOON.min(valid / 4) {
        Finding::look(CERTIFICATE, says, remedy)
    } else {
        Finding::good(CERTIFICATE, says)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn certificates_are_judged_by_names_and_days() {
        let presented = |names: &[&str], days: u64| Presented {
            names: names.iter().map(ToString::to_string).collect(),
            not_before: 1000,
            not_after: 1000 * DAY,
            count: 2,
            all_until: 100 * DAY + days * DAY,
        };
        let verdict = |presented: &Presented, now| judge("x.crt", presented, now, true).verdict;
        let now = 100 * DAY;
        assert_eq!(verdict(&presented(&["a.example"], 90), now), Verdict::Good);
        assert_eq!(verdict(&presented(&["a.example"], 20), now), Verdict::Look);
        assert_eq!(verdict(&presented(&["a.example"], 3), now), Verdict::Bad);
        assert_eq!(verdict(&presented(&["a.example"], 3), now + 4 * DAY), Verdict::Bad);
        assert_eq!(verdict(&presented(&[], 90), now), Verdict::Bad);
        assert_eq!(verdict(&presented(&["a.example"], 90), 999), Verdict::Bad);
        // Of an authority that issues for a day, asked by a program.
        let hours = |left: u64| {
            let day = Presented {
                not_before: now,
                not_after: now + DAY,
                all_until: now + DAY,
                ..presented(&["a.example"], 1)
            };
            judge("x.crt", &day, now + DAY - left * 3600, false).verdict
        };
        assert_eq!([hours(24), hours(5), hours(3)], [Verdict::Good, Verdict::Look, Verdict::Bad]);
    }
}
