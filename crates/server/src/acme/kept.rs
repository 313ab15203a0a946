//! What is kept of an authority below the directory of keys: the account, the certificate, and when it may be asked again.

use std::path::{Path, PathBuf};

use millpond_cache::Digest;
use millpond_identity::{Presented, write_secret};
use serde::{Deserialize, Serialize};

use super::same_names;
use crate::listener::tls;
use crate::location::Location;

/// The wait after the first failure, in seconds; twice that after the next one, ...
const WAIT: u64 = 60;
/// ... but no longer than this.
pub(super) const WAIT_MAX: u64 = 24 * 3600;
/// The longest pause that is ever noted, in seconds: with what some wait more.
pub(super) const LONGEST: u64 = WAIT_MAX + WAIT_MAX / 10;

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
        let hash = Digest::of(shown.as_bytes()).to_string();
        let hash: String = hash.chars().take(8).collect();
        Self(keys.join("acme").join(format!("{}-{hash}", name.trim_matches(['-', '.']))))
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

    /// Takes a certificate with its key, if they can be presented: for these names, at `now` in Unix seconds.
    pub(super) fn store(&self, pem: &str, names: &[String], now: u64) -> Result<Presented, String> {
        let presented = usable(pem.as_bytes())?;
        if !same_names(&presented.names, names) {
            return Err(format!("what was issued is for other names: {}", presented.names.join(", ")));
        }
        if presented.not_after <= now {
            return Err("what was issued has expired already".into());
        }
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

    /// Notes that it is asked at `now`, in Unix seconds, as if that had failed already. For how many seconds it is not asked again.
    ///
    /// # Errors
    /// That this cannot be written down.
    pub(super) fn begin(&self, names: &[String], now: u64) -> Result<u64, String> {
        let failures = self.attempts(names).failures.saturating_add(1);
        let wait = wait(failures, now);
        self.write(&Attempts { names: names.to_vec(), failures, not_before: now.saturating_add(wait) })?;
        Ok(wait)
    }

    /// It asks to be left alone until then, in Unix seconds.
    pub(super) fn put_off(&self, names: &[String], until: u64) {
        let attempts = Attempts { names: names.to_vec(), not_before: until, ..self.attempts(names) };
        if let Err(error) = self.write(&attempts) {
            tracing::warn!(error, "when an ACME authority may be asked again was not written down");
        }
    }

    fn write(&self, attempts: &Attempts) -> Result<(), String> {
        let content = serde_json::to_vec(attempts).map_err(|error| error.to_string())?;
        write_secret(&self.attempts_file(), &content).map_err(|error| error.to_string())
    }

    pub(super) fn succeeded(&self) {
        let _ = std::fs::remove_file(self.attempts_file());
    }
}

/// With a little more for some, so that many servers do not ask at the same time.
fn wait(failures: u32, now: u64) -> u64 {
    let doubled = WAIT << failures.saturating_sub(1).min(11);
    let wait = doubled.min(WAIT_MAX);
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
        let shown = kept(folder).0.display().to_string();
        assert!(shown.starts_with("/keys/acme/acme.example.org-14000-dir-x-1-"), "{shown}");
        let of = |url: &str| Kept::below(folder, &url.parse().unwrap()).0;
        assert_ne!(of("https://a.example.org/b"), of("https://a.example.org-b"));
        let odd: Location = "https://..".parse().unwrap();
        assert_eq!(Kept::below(folder, &odd).0.parent().unwrap(), Path::new("/keys/acme"));
    }

    #[test]
    fn waits_grow_to_a_day() {
        let waits: Vec<_> = [1, 2, 3, 11, 12, 99, u32::MAX].map(|failures| wait(failures, 0)).into();
        assert_eq!(waits, [60, 120, 240, 61_440, 86_400, 86_400, 86_400]);
        assert!((60..66).contains(&wait(1, 1_700_000_003)));
    }

    #[test]
    fn failures_are_kept_for_the_names_that_they_are_about_and_secrets_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(folder.path());
        let names = ["a.example.org".to_owned()];
        assert_eq!(kept.attempts(&names), Attempts::default());
        let first = kept.begin(&names, 1000).unwrap();
        let second = kept.begin(&names, 2000).unwrap();
        assert!(second > first);
        assert_eq!(kept.attempts(&names).not_before, 2000 + second);
        kept.put_off(&names, 9000);
        assert_eq!((kept.attempts(&names).not_before, kept.attempts(&names).failures), (9000, 2));
        assert_eq!(kept.attempts(&["b.example.org".to_owned()]), Attempts::default());
        std::fs::write(kept.attempts_file(), "{").unwrap();
        assert_eq!(kept.attempts(&names), Attempts::default());
        kept.succeeded();
        assert!(!kept.attempts_file().exists());

        let (certificate, key) = millpond_identity::public_name::stand_in(&names).unwrap();
        let both = format!("{key}{certificate}");
        assert!(kept.store(&both, &["b.example.org".to_owned()], 1000).is_err(), "for other names");
        assert!(kept.store(&both, &names, u64::MAX).is_err(), "expired");
        assert!(kept.presented().is_none());
        assert_eq!(kept.store(&both, &names, 1000).unwrap().names, names);
        assert_eq!(kept.presented().unwrap().names, names);
        assert!(kept.store(&certificate, &names, 1000).is_err(), "without a key");
        let (other, _) = millpond_identity::public_name::stand_in(&names).unwrap();
        assert!(kept.store(&format!("{key}{other}"), &names, 1000).is_err(), "with another's key");
        kept.store_account(b"{}").unwrap();
        for (path, mode) in
            [(kept.certificate(), 0o600), (kept.account_file(), 0o600), (kept.0.clone(), 0o700)]
        {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }
}
