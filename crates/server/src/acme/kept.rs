//! What is kept of an authority below the directory of keys: the account, the certificate, and when it may be asked again.

use std::path::{Path, PathBuf};

use millpond_identity::{Presented, write_secret};
use serde::{Deserialize, Serialize};

use crate::listener::tls;
use crate::location::Location;

/// The wait after the first failure, in seconds; twice that after the next one, ...
const WAIT: u64 = 60;
/// ... but no longer than this.
const WAIT_MAX: u64 = 24 * 3600;

/// The files of one authority.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

/// How often it was asked in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// For these names.
    names: Vec<String>,
    failures: u32,
    /// When it may be asked again, in Unix seconds.
    pub(super) not_before: u64,
}

impl Kept {
    /// Each authority has a folder of its own: what one for trying out issued is never taken for the real one's.
    pub(super) fn below(keys: &Path, directory: &Location) -> Self {
        let shown = directory.to_string();
        let plain = |one: char| if one.is_ascii_alphanumeric() || one == '.' { one } else { '-' };
        let name: String = shown.trim_start_matches("https://").chars().map(plain).take(150).collect();
        let name = name.trim_matches(['-', '.']);
        Self(keys.join("acme").join(if name.is_empty() { "authority" } else { name }))
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    fn account_file(&self) -> PathBuf {
        self.0.join("account.json")
    }

    fn attempts_file(&self) -> PathBuf {
        self.0.join("attempts.json")
    }

    /// What is there of it, if it can be read and presented.
    pub(super) fn presented(&self) -> Option<Presented> {
        let pem = std::fs::read(self.certificate()).ok()?;
        usable(&pem).ok()
    }

    /// Takes a certificate with its key, after a look whether they can be presented.
    pub(super) fn store(&self, pem: &str) -> Result<Presented, String> {
        let presented = usable(pem.as_bytes())?;
        write_secret(&self.certificate(), pem.as_bytes()).map_err(|error| error.to_string())?;
        Ok(presented)
    }

    /// The account with the authority, as the library writes it.
    pub(super) fn account(&self) -> Option<Vec<u8>> {
        std::fs::read(self.account_file()).ok()
    }

    pub(super) fn store_account(&self, account: &[u8]) -> Result<(), String> {
        write_secret(&self.account_file(), account).map_err(|error| error.to_string())
    }

    /// The authority does not know it any more.
    pub(super) fn forget_account(&self) {
        let _ = std::fs::remove_file(self.account_file());
    }

    /// How often it was asked in vain for these names.
    pub(super) fn attempts(&self, names: &[String]) -> Attempts {
        let content = std::fs::read(self.attempts_file()).unwrap_or_default();
        let attempts: Attempts = serde_json::from_slice(&content).unwrap_or_default();
        // Other names are another question.
        if attempts.names == names { attempts } else { Attempts::default() }
    }

    /// Notes a failure at `now`, in Unix seconds. For how many seconds it is not asked again.
    pub(super) fn failed(&self, names: &[String], now: u64, asked_to_wait: u64) -> u64 {
        let failures = self.attempts(names).failures.saturating_add(1);
        let wait = wait(failures, asked_to_wait, now);
        let attempts = Attempts { names: names.to_vec(), failures, not_before: now.saturating_add(wait) };
        let written = serde_json::to_vec(&attempts).map_err(|error| error.to_string());
        let written = written.and_then(|content| {
            write_secret(&self.attempts_file(), &content).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(%error, "when an ACME authority may be asked again was not written down");
        }
        wait
    }

    pub(super) fn succeeded(&self) {
        let _ = std::fs::remove_file(self.attempts_file());
    }
}

/// With a little more for some, so that many servers do not ask at the same time.
fn wait(failures: u32, asked_to_wait: u64, now: u64) -> u64 {
    let doubled = WAIT << failures.saturating_sub(1).min(11);
    let wait = doubled.min(WAIT_MAX).max(asked_to_wait.min(WAIT_MAX));
    wait + now % (wait / 10).max(1)
}

/// Whether it can be presented, and what it says.
fn usable(pem: &[u8]) -> Result<Presented, String> {
    tls::check(pem, pem).map_err(|error| error.to_string())?;
    Presented::read(pem).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn kept(folder: &Path) -> Kept {
        Kept::below(folder, &"https://acme.example.org:14000/dir?x=1".parse().unwrap())
    }

    #[test]
    fn each_authority_has_its_folder() {
        let folder = Path::new("/keys");
        assert_eq!(kept(folder).0, Path::new("/keys/acme/acme.example.org-14000-dir-x-1"));
        let odd: Location = "https://..".parse().unwrap();
        assert_eq!(Kept::below(folder, &odd).0.parent().unwrap(), Path::new("/keys/acme"));
    }

    #[test]
    fn waits_grow_to_a_day_and_are_the_authority_s_if_it_says_so() {
        let waits: Vec<_> = [1, 2, 3, 11, 12, 99, u32::MAX].map(|failures| wait(failures, 0, 0)).into();
        assert_eq!(waits, [60, 120, 240, 61_440, 86_400, 86_400, 86_400]);
        assert_eq!((wait(1, 3600, 0), wait(1, u64::MAX, 0)), (3600, 86_400));
        assert!((60..66).contains(&wait(1, 0, 1_700_000_003)));
    }

    #[test]
    fn failures_are_kept_for_the_names_that_they_are_about_and_secrets_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(folder.path());
        let names = ["a.example.org".to_owned()];
        assert_eq!(kept.attempts(&names), Attempts::default());
        let first = kept.failed(&names, 1000, 0);
        let second = kept.failed(&names, 2000, 0);
        assert!(second > first);
        assert_eq!(kept.attempts(&names).not_before, 2000 + second);
        assert_eq!(kept.attempts(&["b.example.org".to_owned()]), Attempts::default());
        std::fs::write(kept.attempts_file(), "{").unwrap();
        assert_eq!(kept.attempts(&names), Attempts::default());
        kept.succeeded();
        assert!(!kept.attempts_file().exists());

        let (certificate, key) = millpond_identity::public_name::stand_in(&names).unwrap();
        assert_eq!(kept.store(&format!("{key}{certificate}")).unwrap().names, names);
        assert_eq!(kept.presented().unwrap().names, names);
        assert!(kept.store(&certificate).is_err(), "without a key");
        let (other, _) = millpond_identity::public_name::stand_in(&names).unwrap();
        assert!(kept.store(&format!("{key}{other}")).is_err(), "with another's key");
        kept.store_account(b"{}").unwrap();
        for (path, mode) in
            [(kept.certificate(), 0o600), (kept.account_file(), 0o600), (kept.0.clone(), 0o700)]
        {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }
}
