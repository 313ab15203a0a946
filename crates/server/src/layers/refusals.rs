//! The log of refused calls: who was refused what, from where, and with which words. One line for each address in ten seconds,
//! with the number of those left out, so that nobody's refusals hide those of others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use millpond_cache::Throttle;

use super::record::Record;
use crate::status;

/// Addresses that have lines of their own at the same time. All others share one.
const ADDRESSES_MAX: usize = 100;

static SAID: Refusals = Refusals::new();

struct Refusals {
    own: Mutex<BTreeMap<IpAddr, Throttle>>,
    others: Throttle,
}

impl Refusals {
    const fn new() -> Self {
        Self { own: Mutex::new(BTreeMap::new()), others: Throttle::new() }
    }

    /// As [`Throttle::pass`], for this address.
    fn pass(&self, address: Option<IpAddr>) -> Option<u64> {
        let Some(address) = address else { return self.others.pass() };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= ADDRESSES_MAX && !own.contains_key(&address) {
            own.retain(|_, throttle| !throttle.is_quiet());
        }
        if own.len() >= ADDRESSES_MAX && !own.contains_key(&address) {
            return self.others.pass();
        }
        own.entry(address).or_insert_with(Throttle::new).pass()
    }
}

/// Writes down that a call was refused, if its answer has such headers.
pub(super) fn tell(headers: &HeaderMap, record: &Record) {
    let Some((outcome, words)) = status::refused(headers) else { return };
    let address = record.peer().map(|peer| peer.ip().to_canonical());
    let Some(left_out) = SAID.pass(address) else { return };
    let identity = record.identity();
    tracing::info!(
        left_out = (left_out > 0).then_some(left_out),
        request = %record.request(),
        identity = (!identity.is_empty()).then_some(identity),
        address = address.map(tracing::field::display),
        method = record.method().name,
        words,
        "{outcome}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_lines_until_there_are_too_many() {
        let refusals = Refusals::new();
        let address = |number: u32| Some(IpAddr::from(number.to_be_bytes()));
        for number in 0..ADDRESSES_MAX as u32 {
            assert_eq!(refusals.pass(address(number)), Some(0), "{number}");
            assert_eq!(refusals.pass(address(number)), None, "{number}");
        }
        assert_eq!([1000, 1001, 1002].map(|number| refusals.pass(address(number))), [Some(0), None, None]);
        assert_eq!(refusals.own.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
