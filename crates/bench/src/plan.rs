//! What is to be done, all of it encoded before the clock starts.

use crate::wire::{Call, Opening};

/// What is counted and timed as one: mostly one call.
pub(crate) struct Operation {
    /// Made one after the other.
    pub(crate) calls: Vec<Call>,
    /// Where the first of them is made.
    pub(crate) opening: Opening,
    /// How many things it does, such as blobs of a batch.
    pub(crate) units: u64,
    /// How many bytes of content go up or come down.
    pub(crate) bytes: u64,
}

impl Operation {
    /// One call that does one thing.
    pub(crate) fn one(call: Call, bytes: usize) -> Self {
        Self::batch(call, 1, bytes)
    }

    /// Several calls that do one thing.
    pub(crate) fn calls(calls: Vec<Call>, bytes: u64) -> Self {
        Self { calls, opening: Opening::Kept, units: 1, bytes }
    }

    /// One call that does several.
    pub(crate) fn batch(call: Call, units: usize, bytes: usize) -> Self {
        Self { calls: vec![call], opening: Opening::Kept, units: units as u64, bytes: bytes as u64 }
    }
}

/// Operations, for whichever connection is free.
pub(crate) struct Plan {
    operations: Vec<Operation>,
    /// How many to make.
    pub(crate) count: usize,
}

impl Plan {
    /// Each once.
    pub(crate) fn once(operations: Vec<Operation>) -> Self {
        Self { count: operations.len(), operations }
    }

    /// All again and again, `count` in all.
    pub(crate) fn repeated(operations: Vec<Operation>, count: usize) -> Self {
        Self { operations, count }
    }

    /// The operation with this number, if there are so many to make.
    pub(crate) fn get(&self, number: usize) -> Option<&Operation> {
        let index = number.checked_rem(self.operations.len()).filter(|_| number < self.count)?;
        self.operations.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(count: usize) -> Vec<Operation> {
        let of = |units| Operation { units, ..Operation::calls(Vec::new(), 0) };
        (0..count).map(|units| of(units as u64)).collect()
    }

    fn units(plan: &Plan) -> Vec<u64> {
        (0..9).map_while(|number| Some(plan.get(number)?.units)).collect()
    }

    #[test]
    fn operations_are_made_once_or_again_and_again() {
        assert_eq!(units(&Plan::once(operations(3))), [0, 1, 2]);
        assert_eq!(units(&Plan::repeated(operations(3), 5)), [0, 1, 2, 0, 1]);
        assert_eq!(units(&Plan::repeated(operations(0), 5)), []);
    }
}
