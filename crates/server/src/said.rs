//! What is said in the log of each client, now and then only: one line for each address, identity and outcome in ten seconds, with
//! the number of those left out, so that no refusals hide others. And how an error is said.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use millpond_cache::Throttle;

/// Those that have lines of their own at the same time. All others share one.
const OWN_MAX: usize = 100;

/// Address, identity and outcome.
type Key = (IpAddr, String, &'static str);

/// An error with all its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

/// What has been said.
pub(crate) struct Said {
    own: Mutex<BTreeMap<Key, Throttle>>,
    others: Throttle,
}

impl Said {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { own: Mutex::new(BTreeMap::new()), others: Throttle::new() }
    }

    /// As [`Throttle::pass`], for these.
    pub(crate) fn pass(&self, address: Option<IpAddr>, identity: &str, outcome: &'static str) -> Option<u64> {
        let Some(address) = address else { return self.others.pass() };
        let key = (address, identity.to_owned(), outcome);
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= OWN_MAX && !own.contains_key(&key) {
            own.retain(|_, throttle| !throttle.is_quiet());
        }
        if own.len() >= OWN_MAX && !own.contains_key(&key) {
            return self.others.pass();
        }
        own.entry(key).or_insert_with(Throttle::new).pass()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk on fire");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "disk on fire");
    }

    #[test]
    fn each_address_identity_and_outcome_has_its_own_lines_until_there_are_too_many() {
        let said = Said::new();
        let pass = |number: u32, identity, outcome| {
            said.pass(Some(IpAddr::from(number.to_be_bytes())), identity, outcome)
        };
        for (identity, outcome) in [("", "denied"), ("alice", "denied"), ("alice", "not authenticated")] {
            for number in 0..OWN_MAX as u32 / 4 {
                assert_eq!(pass(number, identity, outcome), Some(0), "{number}");
                assert_eq!(pass(number, identity, outcome), None, "{number}");
            }
        }
        for number in 100..200 {
            pass(number, "", "denied");
        }
        assert_eq!([1000, 1001].map(|number| pass(number, "", "denied")), [None, None]);
        assert_eq!(said.own.lock().unwrap().len(), OWN_MAX);
    }
}
