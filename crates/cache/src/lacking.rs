//! Names in force that were found to lack blobs. There should be none: whatever is here is a name that was served and is a
//! miss now, because records went bad or because of a fault of ours.
//!
//! What finds one says so: a look-up, a check, the pass that reads all blobs again. What becomes of it, another push, a removal,
//! letting go, does not have to: those that are known are looked at again each minute, while there are any.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millpond_store::Error as StoreError;
use millpond_store::catalog::{Name, Value};

use crate::Error;
use crate::cache::Inner;

/// Names that are remembered, all of which are looked at each minute.
const NAMES_MAX: usize = 1000;

/// The names, with how many blobs each lacks at least.
#[derive(Debug, Default)]
pub(crate) struct LackingNames {
    known: Mutex<HashMap<Name, u64>>,
    /// Read without the lock.
    names: AtomicU64,
    blobs: AtomicU64,
}

impl LackingNames {
    /// A name lacks so many; none, if it is whole or not there any more.
    pub(crate) fn lacks(&self, name: &Name, blobs: u64) {
        if blobs == 0 && self.names() == 0 {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if blobs == 0 {
            known.remove(name);
        } else if known.len() < NAMES_MAX || known.contains_key(name) {
            known.insert(name.clone(), blobs);
        }
        self.names.store(known.len() as u64, Ordering::Relaxed);
        self.blobs.store(known.values().sum(), Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn names(&self) -> u64 {
        self.names.load(Ordering::Relaxed)
    }

    /// How many blobs they lack together.
    pub(crate) fn blobs(&self) -> u64 {
        self.blobs.load(Ordering::Relaxed)
    }

    fn all(&self) -> Vec<Name> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Inner {
    /// Looks again at the names that lacked something. What cannot be looked at now stays as it is.
    pub(crate) async fn look_at_lacking_names(self: &Arc<Self>) {
        for name in self.lacking.all() {
            let value = match self.catalog.look_up(&name).await {
                Ok(Some(value)) => value,
                Ok(None) => {
                    self.lacking.lacks(&name, 0);
                    continue;
                }
                Err(StoreError::Poisoned(_)) => return,
                Err(_) => continue,
            };
            let inner = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || inner.lacking_of(&value)).await;
            if let Ok(Some(blobs)) = looked {
                self.lacking.lacks(&name, blobs);
            }
        }
    }

    /// How many blobs a value lacks that is served but for that; `None` if that cannot be told. Blocks.
    fn lacking_of(&self, value: &Value) -> Option<u64> {
        let walked = self.subject(value).and_then(|subject| self.walker.raise_only(&subject, value.level()));
        // It may have been let go while it was looked at.
        if self.is_let_go(value) {
            return Some(0);
        }
        match walked {
            Ok(walked) => Some(walked.missing_count),
            Err(Error::Invalid(_)) => Some(1),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_store::catalog::NameKind;

    #[test]
    fn a_name_counts_once_with_what_it_lacks_until_it_lacks_nothing() {
        let lacking = LackingNames::default();
        let name = |number: usize| {
            let text = number.to_string().into();
            Name { instance: "".into(), kind: NameKind::AssetBlob, text, qualifiers: "".into() }
        };
        for (number, blobs) in [(1, 3), (2, 1), (1, 2), (3, 0)] {
            lacking.lacks(&name(number), blobs);
        }
        assert_eq!((lacking.names(), lacking.blobs()), (2, 3));
        (10..NAMES_MAX + 100).for_each(|number| lacking.lacks(&name(number), 1));
        assert_eq!(lacking.names(), NAMES_MAX as u64);
        lacking.all().iter().for_each(|name| lacking.lacks(name, 0));
        assert_eq!((lacking.names(), lacking.blobs()), (0, 0));
    }
}
