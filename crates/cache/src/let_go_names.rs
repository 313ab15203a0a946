//! Which names were let go lately: what tells a miss that more disk would have spared from one of a name that never was.
//!
//! Only hashes are kept, so that memory is bounded; of 64 bits, so that a stranger's name rarely passes for one of them.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use millpond_store::catalog::Name;

use crate::counters::Counter;

/// Names that are remembered: about 3 MB.
const NAMES_MAX: usize = 100_000;

/// The names, and the misses of them.
#[derive(Debug, Default)]
pub(crate) struct LetGoNames {
    hasher: RandomState,
    state: Mutex<State>,
    misses: Counter,
    strangers: Counter,
}

#[derive(Debug, Default)]
struct State {
    known: HashSet<u64>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl LetGoNames {
    /// The name was let go.
    pub(crate) fn remember(&self, name: &Name) {
        let hash = self.hasher.hash_one(name);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.insert(hash) {
            state.order.push_back(hash);
            if state.order.len() > NAMES_MAX
                && let Some(oldest) = state.order.pop_front()
            {
                state.known.remove(&oldest);
            }
        }
    }

    /// The name was looked up and has no value: counts, and says, whether that is because it was let go.
    pub(crate) fn count_miss(&self, name: &Name) -> bool {
        let hash = self.hasher.hash_one(name);
        let was_let_go = self.state.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&hash);
        if was_let_go { &self.misses } else { &self.strangers }.add(1);
        was_let_go
    }

    /// A name that is still there, and was let go, was looked up.
    pub(crate) fn count_let_go(&self) {
        self.misses.add(1);
    }

    /// Look-ups of names that had been let go, since the start.
    pub(crate) fn misses(&self) -> u64 {
        self.misses.get()
    }

    /// Look-ups of other names that are not there, since the start.
    pub(crate) fn strangers(&self) -> u64 {
        self.strangers.get()
    }
}

#[cfg(test)]
mod tests {
    use millpond_store::catalog::NameKind;

    use super::*;

    fn name(number: usize) -> Name {
        let text = number.to_string().into();
        Name { instance: "".into(), kind: NameKind::AssetBlob, text, qualifiers: "".into() }
    }

    #[test]
    fn only_misses_of_names_that_were_let_go_lately_count() {
        let names = LetGoNames::default();
        (0..NAMES_MAX + 10).for_each(|number| names.remember(&name(number)));
        names.count_miss(&name(9));
        names.count_miss(&name(NAMES_MAX + 11));
        assert_eq!((names.misses(), names.strangers()), (0, 2));
        names.count_miss(&name(10));
        assert_eq!((names.misses(), names.strangers()), (1, 2));
        assert_eq!(names.state.lock().unwrap().known.len(), NAMES_MAX);
    }
}
