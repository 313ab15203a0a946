//! Who hears of every change of names that was committed, before those hear of it who asked for it.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Name, Value};
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
    },
}

/// Somebody who writes down what is changed.
pub trait Witness: Debug + Send + Sync {
    /// Whether it can: nothing is published or removed otherwise.
    fn ready(&self) -> Result<()>;
    /// This was committed. After an error whoever asked for it is told that it failed, although it is in force.
    fn changed(&self, changes: &[Changed]) -> Result<()>;
}
