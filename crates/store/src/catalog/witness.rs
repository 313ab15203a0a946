//! Who hears of every change of names that was committed, before those hear of it who asked for it.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Name, Pin, Value};
use crate::Result;

/// A change of a name.
#[derive(Clone, Debug)]
pub enum Changed {
    /// This value was published.
    Published {
        /// It.
        value: Arc<Value>,
        /// Another one was in force.
        replaced: bool,
    },
    /// The value of this name with this number was removed.
    Removed {
        /// Whose.
        name: Name,
        /// Which.
        seq: u64,
        /// Who wanted it, if it was not the server itself.
        by: Option<By>,
    },
    /// The value of this name with this number was set aside.
    SetAside {
        /// Whose.
        name: Name,
        /// Which.
        seq: u64,
        /// Who wanted it, if it was not the server itself.
        by: Option<By>,
    },
    /// This value, which had been set aside, is in force again.
    Restored {
        /// It.
        value: Arc<Value>,
        /// Who wanted it.
        by: By,
    },
    /// This pin was made.
    Pinned {
        /// It.
        pin: Pin,
        /// By whom.
        by: By,
    },
    /// This pin was taken out.
    Unpinned {
        /// It.
        pin: Pin,
        /// By whom.
        by: By,
    },
}

/// Who changes something, and where from; both empty if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub who: Box<str>,
    /// Where from.
    pub address: Box<str>,
}

/// Says which names keep values that others have taken the place of.
pub trait Revisions: Debug + Send + Sync {
    /// How many values of this name are kept, the one in force among them; one or none for that alone. Asked in the midst of a
    /// transaction: no I/O.
    fn kept_of(&self, name: &Name) -> u32;
}

/// Somebody who writes down what is changed.
pub trait Witness: Debug + Send + Sync {
    /// Whether it can: nothing is published or removed otherwise.
    fn ready(&self) -> Result<()>;
    /// This was committed. After an error whoever asked for it is told that it failed, although it is in force.
    fn changed(&self, changes: &[Changed]) -> Result<()>;
}
