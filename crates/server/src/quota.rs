//! What one identity may take up, where an operator has said so: requests in a minute, and bytes of uploads in a day.
//!
//! **Invariant:** who is over their quota is refused before anything of the call is taken in, in the form that their client
//! survives. What has begun goes on to its end, and counts.
//!
//! Each is a bucket that holds what may be taken at once and fills up evenly again. Anonymous clients have none: they would
//! share it, and one could use it up for all; their connections are bounded by address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use millpond_cache::{Changing, Pattern};

use crate::layers::method::Nature;

const MINUTE: f64 = 60.0;
const DAY: f64 = 24.0 * 3600.0;
/// Identities that are remembered. Beyond it each new one takes the place of one that has taken little.
const ACCOUNTS_MAX: usize = 10_000;
/// Of so many the one goes that has most left.
const LOOKED_AT: usize = 16;

/// What identities may take up.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Which identities: each of them has all of it.
    pub identities: Pattern,
    /// Requests in a minute.
    pub requests: Option<u32>,
    /// Bytes of uploads in a day.
    pub upload_bytes: Option<u64>,
}

/// All quotas, and what has been taken of them.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    quotas: Changing<Vec<Quota>>,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

/// What one identity has taken.
#[derive(Debug)]
pub(crate) struct Account {
    requests: Option<Mutex<Bucket>>,
    bytes: Option<Mutex<Bucket>>,
}

/// Fills up evenly.
#[derive(Debug)]
struct Bucket {
    holds: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

/// Of what there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// So many requests are had in a minute.
    Requests(u64),
    /// So many bytes of uploads are had in a day.
    Bytes(u64),
}

impl Quotas {
    /// The first that matches an identity counts.
    pub(crate) fn new(quotas: Vec<Quota>) -> Self {
        Self { quotas: Changing::new(quotas), accounts: Mutex::default() }
    }

    /// From now on these. What an identity has taken stays taken.
    pub(crate) fn change(&self, quotas: Vec<Quota>) {
        let mut accounts = self.accounts();
        accounts.retain(|identity, account| match of(&quotas, identity) {
            Some(quota) => {
                *account = Arc::new(account.within(quota));
                true
            }
            None => false,
        });
        self.quotas.change(quotas);
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Arc<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of an identity, if it has a quota.
    pub(crate) fn account(&self, identity: &str) -> Option<Arc<Account>> {
        if identity.is_empty() || of(&self.quotas.now(), identity).is_none() {
            return None;
        }
        let mut accounts = self.accounts();
        // Under the lock, since they may have become others.
        let quotas = self.quotas.now();
        let quota = of(&quotas, identity)?;
        if let Some(account) = accounts.get(identity) {
            return Some(Arc::clone(account));
        }
        if accounts.len() >= ACCOUNTS_MAX {
            let some = accounts.iter().take(LOOKED_AT);
            let idlest = some.max_by(|(_, one), (_, other)| one.share_left().total_cmp(&other.share_left()));
            if let Some(idlest) = idlest.map(|(identity, _)| identity.clone()) {
                accounts.remove(&idlest);
            }
        }
        let account = Arc::new(Account::new(quota));
        accounts.insert(identity.to_owned(), Arc::clone(&account));
        Some(account)
    }
}

/// The first that matches an identity.
fn of<'q>(quotas: &'q [Quota], identity: &str) -> Option<&'q Quota> {
    quotas.iter().find(|quota| quota.identities.matches(identity))
}

impl Account {
    /// One with another quota, from which as much has been taken.
    fn within(&self, quota: &Quota) -> Self {
        let after = Self::new(quota);
        let pairs = [(&self.requests, &after.requests), (&self.bytes, &after.bytes)];
        for (before, after) in pairs {
            if let (Some(before), Some(after)) = (before, after) {
                locked(after).take(locked(before).taken());
            }
        }
        after
    }

    fn new(quota: &Quota) -> Self {
        let bucket = |holds: f64, seconds: f64| Mutex::new(Bucket::new(holds, seconds));
        Self {
            requests: quota.requests.map(|count| bucket(f64::from(count), MINUTE)),
            // Exact up to 2^53, and a quota beyond that is none.
            bytes: quota.upload_bytes.map(|bytes| bucket(bytes as f64, DAY)),
        }
    }

    /// Counts a request, unless it is one too many.
    pub(crate) fn take_request(&self, nature: Nature) -> Result<(), Over> {
        if nature == Nature::Upload
            && let Some(holds) = self.bytes.as_ref().and_then(|bytes| locked(bytes).is_empty())
        {
            return Err(Over::Bytes(holds));
        }
        match self.requests.as_ref().and_then(|requests| locked(requests).take_one()) {
            Some(holds) => Err(Over::Requests(holds)),
            None => Ok(()),
        }
    }

    /// Counts what came of an upload.
    pub(crate) fn take_bytes(&self, bytes: usize) {
        if let Some(bucket) = &self.bytes {
            locked(bucket).take(bytes as f64);
        }
    }

    /// How much is left of what is least left, 1 being all.
    fn share_left(&self) -> f64 {
        let share = |bucket: &Mutex<Bucket>| {
            let mut bucket = locked(bucket);
            bucket.fill(Instant::now());
            bucket.left / bucket.holds
        };
        self.requests.iter().chain(&self.bytes).map(share).fold(1.0, f64::min)
    }
}

fn locked(bucket: &Mutex<Bucket>) -> std::sync::MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bucket {
    fn new(holds: f64, seconds: f64) -> Self {
        Self { holds, per_second: holds / seconds, left: holds, at: Instant::now() }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.holds);
        self.at = now;
    }

    /// What has been taken and not filled up again.
    fn taken(&mut self) -> f64 {
        self.fill(Instant::now());
        self.holds - self.left
    }

    /// What it holds, if there is nothing left of it.
    fn is_empty(&mut self) -> Option<u64> {
        self.fill(Instant::now());
        (self.left <= 0.0).then_some(self.holds as u64)
    }

    /// Takes one; or says what it holds, if there is not one left.
    fn take_one(&mut self) -> Option<u64> {
        self.fill(Instant::now());
        if self.left < 1.0 {
            return Some(self.holds as u64);
        }
        self.left -= 1.0;
        None
    }

    /// Takes more than there is, if need be.
    fn take(&mut self, amount: f64) {
        self.fill(Instant::now());
        self.left -= amount;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn quota(identities: &str, requests: Option<u32>, upload_bytes: Option<u64>) -> Quota {
        Quota { identities: Pattern::new(identities).unwrap(), requests, upload_bytes }
    }

    #[test]
    fn each_identity_has_the_first_quota_that_matches_for_itself_alone() {
        let quotas = Quotas::new(vec![quota("ci-*", Some(2), None), quota("*", None, Some(10))]);
        let account = |identity: &str| quotas.account(identity).unwrap();
        for _ in 0..2 {
            assert_eq!(account("ci-1").take_request(Nature::Upload), Ok(()));
        }
        assert_eq!(account("ci-1").take_request(Nature::Pull), Err(Over::Requests(2)));
        assert_eq!(account("ci-2").take_request(Nature::Pull), Ok(()));
        account("alice").take_bytes(11);
        assert_eq!(account("alice").take_request(Nature::Upload), Err(Over::Bytes(10)));
        for nature in [Nature::Pull, Nature::Probe, Nature::Name] {
            assert_eq!(account("alice").take_request(nature), Ok(()));
        }
        assert!(quotas.account("").is_none());
        assert!(Quotas::default().account("alice").is_none());
    }

    #[test]
    fn other_quotas_count_at_once_and_what_was_taken_stays_taken() {
        let quotas = Quotas::new(vec![quota("ci-*", Some(2), None), quota("*", Some(1), None)]);
        let request = |identity: &str| quotas.account(identity).unwrap().take_request(Nature::Pull);
        assert_eq!([request("ci"), request("ci-1"), request("ci-1")], [Ok(()); 3]);
        quotas.change(vec![quota("ci-*", Some(3), None)]);
        assert_eq!([request("ci-1"), request("ci-1")], [Ok(()), Err(Over::Requests(3))]);
        assert!(quotas.account("ci").is_none());
        quotas.change(vec![quota("*", Some(2), None)]);
        assert_eq!(request("ci-1"), Err(Over::Requests(2)));
        assert_eq!(request("ci"), Ok(()));
    }

    #[test]
    fn bucket_fills_up_evenly_and_never_over() {
        let mut bucket = Bucket::new(60.0, MINUTE);
        let start = bucket.at;
        bucket.left = -30.0;
        bucket.fill(start + Duration::from_secs(40));
        assert!((bucket.left - 10.0).abs() < 1e-9, "{}", bucket.left);
        bucket.fill(start + Duration::from_secs(4000));
        assert!((bucket.left - 60.0).abs() < 1e-9, "{}", bucket.left);
    }

    #[test]
    fn identities_beyond_the_bound_push_out_those_that_took_nothing() {
        let quotas = Quotas::new(vec![quota("*", Some(100), None)]);
        quotas.account("busy").unwrap().take_request(Nature::Pull).unwrap();
        for number in 0..ACCOUNTS_MAX + 10 {
            quotas.account(&format!("idle-{number}")).unwrap();
        }
        let accounts = quotas.accounts.lock().unwrap();
        assert!(accounts.len() <= ACCOUNTS_MAX && accounts.contains_key("busy"));
    }
}
