//! A folder's names: as they are shown, as they are durable, and the changes between the two.

use std::collections::BTreeMap;

use super::{Chance, Number};

/// A file by its number, or a folder.
type Node = Option<Number>;
type Names = BTreeMap<String, Node>;

#[derive(Debug, Default)]
pub(super) struct Folder {
    /// What look-ups see.
    shown: Names,
    /// What every crash image has.
    durable: Names,
    /// Since the last sync.
    changes: Vec<Change>,
}

#[derive(Debug)]
pub(super) enum Change {
    Add { name: String, node: Node },
    Remove { name: String },
    Rename { from: String, to: String, node: Node },
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add { name, node } => {
                names.insert(name.clone(), *node);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }

    fn mentions(&self, number: Number) -> bool {
        match self {
            Self::Add { node, .. } | Self::Rename { node, .. } => *node == Some(number),
            Self::Remove { .. } => false,
        }
    }
}

impl Folder {
    pub(super) fn durable(names: Names) -> Self {
        Self { shown: names.clone(), durable: names, changes: Vec::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<Node> {
        self.shown.get(name).copied()
    }

    pub(super) fn names(&self) -> Vec<(String, Node)> {
        self.shown.iter().map(|(name, node)| (name.clone(), *node)).collect()
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.shown);
        self.changes.push(change);
    }

    /// Whether a crash image may show this file, or look-ups do.
    pub(super) fn mentions(&self, number: Number) -> bool {
        let named = |names: &Names| names.values().any(|node| *node == Some(number));
        named(&self.shown)
            || named(&self.durable)
            || self.changes.iter().any(|change| change.mentions(number))
    }

    /// Makes the changes durable. Returns the files that may have no name any more.
    pub(super) fn sync(&mut self) -> Vec<Number> {
        let mut before: Vec<Number> = self.durable.values().copied().flatten().collect();
        // Not simply what is shown: after a sync that failed the two differ for good.
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
            if let Change::Add { node: Some(number), .. } = change {
                before.push(number);
            }
        }
        before.retain(|number| !self.mentions(*number));
        before
    }

    /// A sync that failed: chance decides now what reached the disk, and no later sync writes the rest.
    pub(super) fn fail_sync(&mut self, chance: &mut Chance) {
        self.durable = self.settle(chance);
        self.changes.clear();
    }

    /// What the disk has after a cut.
    pub(super) fn settle(&self, chance: &mut Chance) -> Names {
        let mut names = self.durable.clone();
        let journalled = chance.keeps();
        let first = chance.below(self.changes.len() as u64 + 1);
        for (number, change) in (0..).zip(&self.changes) {
            if if journalled { number < first } else { chance.keeps() } {
                change.apply(&mut names);
            }
        }
        names
    }
}
