//! A value that becomes another one while it is used.
//!
//! **Invariant:** whoever looks has one of them whole, and keeps it for as long as it likes.

use std::fmt::{self, Debug};
use std::sync::{Arc, PoisonError, RwLock};

/// A value that may become another.
#[derive(Default)]
pub struct Changing<T>(RwLock<Arc<T>>);

impl<T> Changing<T> {
    /// This one, to begin with.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The one that it is now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on another one.
    pub fn change(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T: Debug> Debug for Changing<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looked_before_a_change_keeps_what_it_saw() {
        let changing = Changing::new(1);
        let before = changing.now();
        changing.change(2);
        assert_eq!((*before, *changing.now()), (1, 2));
    }
}
