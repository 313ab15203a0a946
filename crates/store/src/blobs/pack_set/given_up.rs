//! The packs that were given up and are gone: whoever found an entry in one before must not take it for durable.

use std::collections::BTreeSet;

use super::PackId;

/// Numbers that are remembered one by one.
const REMEMBERED_MAX: usize = 4096;

/// Of packs given up, the last ones by their numbers; for the older ones only how high their numbers may be.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    last: BTreeSet<PackId>,
    /// All that is not remembered one by one is at or below this.
    older: PackId,
}

impl GivenUp {
    /// It was given up.
    pub(super) fn add(&mut self, id: PackId) {
        self.last.insert(id);
        if self.last.len() > REMEMBERED_MAX
            && let Some(oldest) = self.last.pop_first()
        {
            self.older = self.older.max(oldest);
        }
    }

    /// Whether it is known to have been given up.
    pub(super) fn has(&self, id: PackId) -> bool {
        self.last.contains(&id)
    }

    /// Whether it was given up, if it is not there any more: true also of packs that were unlinked for another reason
    /// about as long ago. Whoever asks then has to look again where the blob lies.
    pub(super) fn may_have_had(&self, id: PackId) -> bool {
        id <= self.older
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_long_ago_takes_no_memory_and_is_still_not_relied_on() {
        let mut given_up = GivenUp::default();
        let rounds = u32::try_from(REMEMBERED_MAX).unwrap() + 100;
        (1..=rounds).for_each(|number| given_up.add(PackId::new(2 * number)));
        assert_eq!(given_up.last.len(), REMEMBERED_MAX);
        for number in 1..=2 * rounds {
            let id = PackId::new(number);
            let doubtful = given_up.has(id) || given_up.may_have_had(id);
            assert_eq!(doubtful, number <= 200 || number % 2 == 0, "{number}");
        }
    }
}
