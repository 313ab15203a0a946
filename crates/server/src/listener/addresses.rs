//! How many connections each address has.
//!
//! **Invariant:** an address that has none takes no memory here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The addresses that are connected.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// What each may have.
    most: AtomicUsize,
    connected: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    /// None yet, of which each may have so many connections.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), connected: Mutex::default() })
    }

    /// From now on each may have so many. Those that have more keep them.
    pub(crate) fn change(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn connected(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another connection of this address, until it is dropped; `None` if it has as many as it may have.
    pub(crate) fn place(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let mut connected = self.connected();
        let count = connected.get(&ip).copied().unwrap_or_default();
        if count >= self.most.load(Ordering::Relaxed) {
            return None;
        }
        connected.insert(ip, count + 1);
        Some(Place { ip, addresses: Arc::clone(self) })
    }
}

/// One connection's place among those of its address.
#[derive(Debug)]
pub(crate) struct Place {
    ip: IpAddr,
    addresses: Arc<Addresses>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.addresses.connected();
        match connected.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(connected.remove(&self.ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_many_and_none_is_remembered_that_has_none() {
        let addresses = Addresses::new(2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let places = [addresses.place(one).unwrap(), addresses.place(one).unwrap()];
        assert!(addresses.place(one).is_none());
        let elsewhere = addresses.place(other).unwrap();
        drop(places);
        assert!(addresses.place(one).is_some());
        addresses.change(3);
        let more =
            [addresses.place(one).unwrap(), addresses.place(one).unwrap(), addresses.place(one).unwrap()];
        addresses.change(1);
        drop(more);
        assert!(addresses.place(one).is_some());
        drop(elsewhere);
        assert!(addresses.connected().is_empty());
    }
}
