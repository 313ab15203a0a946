//! What a name points to, and what is remembered about it.
//!
//! A value never changes but for its level: overwriting a name makes another value, with another `seq`. Hence a use
//! belongs to a value (name and `seq`), never to a name: a use of the old value must not lift the new one above its
//! blobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;

use super::{INLINE_MAX, Name, VALUE_MAX};
use crate::{Digest, Error, Level, Result};

/// What a name points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A blob.
    Blob(Digest),
    /// The root of a tree.
    Directory(Digest),
    /// The content itself, at most [`INLINE_MAX`] bytes.
    Inline(Bytes),
}

/// Whether the value may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its closure was complete and durable when it was published.
    Whole,
    /// This blob, the first found missing, must come before it can be published. Never served; kept beside the value
    /// in force.
    Pending(Digest),
    /// It was removed, and may be put in force again until this time, in seconds since the Unix epoch. Never served; a name may
    /// have several of these beside the value in force.
    Removed {
        /// Until when.
        until: u64,
    },
}

impl State {
    /// Of a value that another one took the place of, and that is kept for as long as the domain wants it. It may be put in force
    /// again, and has no time to be over.
    pub const EARLIER: Self = Self::Removed { until: 0 };
}

/// A value to be published.
#[derive(Clone, Debug)]
pub struct NewValue {
    /// The name that shall point to it.
    pub name: Name,
    /// What the name shall point to.
    pub target: Target,
    /// Whatever else the domain needs to walk the closure; opaque here.
    pub references: Bytes,
    /// What its closure was raised to.
    pub level: Level,
    /// Cache time when that level was set.
    pub touched: Level,
    /// When the client wants it to end, in seconds since the Unix epoch.
    pub expires: Option<u64>,
    /// When it was pushed, in seconds since the Unix epoch.
    pub pushed: u64,
    /// Who pushed it, empty if unknown.
    pub pusher: Box<str>,
    /// Where from, empty if unknown.
    pub address: Box<str>,
    /// Whether it may be served.
    pub state: State,
}

/// Whose place a value may take that is in force. It is looked at in the transaction that publishes: two pushes at
/// once cannot both be the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// Anybody's.
    Anything,
    /// That of the same pusher, and of an unknown one.
    NothingOfOthers,
    /// Of each value in turn: that of the value with this number; or nobody's.
    Exactly(Vec<Option<u64>>),
}

/// What became of a value that waited for its blobs.
#[derive(Clone, Debug)]
pub enum Promoted {
    /// It is in force.
    Whole(Arc<Value>),
    /// It is not there any more.
    Gone,
    /// Nothing: another value is in force whose place it may not take.
    Occupied,
}

/// A published value.
#[derive(Debug)]
pub struct Value {
    /// The name that points to it.
    pub name: Name,
    /// What the name points to.
    pub target: Target,
    /// Whatever else the domain needs to walk the closure; opaque here.
    pub references: Bytes,
    /// When the client wants it to end, in seconds since the Unix epoch.
    pub expires: Option<u64>,
    /// When it was pushed, in seconds since the Unix epoch.
    pub pushed: u64,
    /// Who pushed it, empty if unknown.
    pub pusher: Box<str>,
    /// Where from, empty if unknown.
    pub address: Box<str>,
    /// Whether it may be served.
    pub state: State,
    /// Its number, rising over the whole catalog.
    pub seq: u64,
    level: AtomicU32,
    touched: AtomicU32,
    /// Epoch in the upper half, level in the lower: one word, so that the two always belong together.
    raised: AtomicU64,
}

/// A value that was used.
#[derive(Clone, Debug)]
pub struct UseOf {
    /// Its name.
    pub name: Name,
    /// Its number.
    pub seq: u64,
    /// What its closure was raised to: the cache time of the use, or later where something keeps it.
    pub level: Level,
    /// The cache time of the use.
    pub touched: Level,
}

/// A value whose level is to change though nobody used it.
#[derive(Clone, Debug)]
pub struct NewLevel {
    /// Its name.
    pub name: Name,
    /// Its number.
    pub seq: u64,
    /// The level that it has; with another one by then, it keeps that.
    pub from: Level,
    /// The level that it is to have.
    pub to: Level,
}

impl NewValue {
    /// The bytes that it holds with its name.
    pub(super) fn size(&self) -> usize {
        let name = self.name.text.len() + self.name.qualifiers.len() + self.name.instance.len();
        self.inline() + name + self.references.len() + self.pusher.len() + self.address.len()
    }

    fn inline(&self) -> usize {
        if let Target::Inline(content) = &self.target { content.len() } else { 0 }
    }

    /// [`Error::TooLarge`] if a row cannot hold it.
    pub(super) fn check_size(&self) -> Result<()> {
        for (size, limit) in [(self.inline(), INLINE_MAX), (self.size(), VALUE_MAX)] {
            if size > limit {
                return Err(Error::TooLarge { size: size as u64, limit: limit as u64 });
            }
        }
        Ok(())
    }
}

impl Value {
    /// The value that `new` becomes with this number.
    pub(super) fn new(new: NewValue, seq: u64) -> Self {
        Self {
            name: new.name,
            target: new.target,
            references: new.references,
            expires: new.expires,
            pushed: new.pushed,
            pusher: new.pusher,
            address: new.address,
            state: new.state,
            seq,
            level: AtomicU32::new(new.level.seconds()),
            touched: AtomicU32::new(new.touched.seconds()),
            raised: AtomicU64::new(0),
        }
    }

    /// Its level as last committed: at publishing, by a recorded use since, or because what kept it does not any more.
    pub fn level(&self) -> Level {
        Level::from_seconds(self.level.load(Ordering::Acquire))
    }

    /// Cache time when that level was set.
    pub fn touched(&self) -> Level {
        Level::from_seconds(self.touched.load(Ordering::Acquire))
    }

    /// What this process has last raised its whole closure to; [`Level::ZERO`] before the first walk.
    pub fn raised_to(&self) -> Level {
        Level::from_seconds(self.raised.load(Ordering::Acquire) as u32)
    }

    /// The epoch of damage in which that walk was made.
    pub fn epoch(&self) -> u64 {
        self.raised.load(Ordering::Acquire) >> 32
    }

    /// Notes that a walk begun in `epoch` raised the whole closure to `level`. Only ever goes forward: by epoch, and
    /// within one by level. Epochs from 2^32 on are not told apart.
    pub fn set_raised(&self, level: Level, epoch: u64) {
        let epoch = epoch.min(u64::from(u32::MAX));
        self.raised.fetch_max(epoch << 32 | u64::from(level.seconds()), Ordering::AcqRel);
    }

    /// Whether another value took its place, and it is kept; it counts as removed, too.
    pub fn is_earlier(&self) -> bool {
        self.state == State::EARLIER
    }

    /// Whether it was removed.
    pub fn is_removed(&self) -> bool {
        matches!(self.state, State::Removed { .. })
    }

    /// As it was, in this state.
    pub fn in_state(&self, state: State) -> NewValue {
        NewValue {
            name: self.name.clone(),
            target: self.target.clone(),
            references: self.references.clone(),
            level: self.level(),
            touched: self.touched(),
            expires: self.expires,
            pushed: self.pushed,
            pusher: self.pusher.clone(),
            address: self.address.clone(),
            state,
        }
    }

    /// Whether it may be served.
    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Called by the writer once the use is committed.
    pub(super) fn raise(&self, level: Level, touched: Level) {
        self.level.fetch_max(level.seconds(), Ordering::AcqRel);
        self.touched.fetch_max(touched.seconds(), Ordering::AcqRel);
    }

    /// Called by the writer once the new level is committed.
    pub(super) fn set_level(&self, level: Level) {
        self.level.store(level.seconds(), Ordering::Release);
    }

    /// About the bytes that this value holds in memory.
    pub(super) fn weight(&self) -> u64 {
        let inline = if let Target::Inline(content) = &self.target { content.len() } else { 0 };
        let parts = inline + self.references.len() + self.pusher.len() + self.address.len();
        (size_of::<Self>() + parts) as u64 + self.name.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::NameKind;

    fn value() -> Value {
        let name =
            Name { instance: "".into(), kind: NameKind::AssetBlob, text: "a".into(), qualifiers: "".into() };
        let new = NewValue {
            name,
            target: Target::Blob(Digest::EMPTY),
            references: Bytes::new(),
            level: Level::from_seconds(5),
            touched: Level::from_seconds(5),
            expires: None,
            pushed: 0,
            pusher: "".into(),
            address: "".into(),
            state: State::Whole,
        };
        Value::new(new, 1)
    }

    #[test]
    fn walk_of_an_older_epoch_does_not_replace_that_of_a_newer() {
        let value = value();
        value.set_raised(Level::from_seconds(90), 2);
        value.set_raised(Level::from_seconds(100), 1);
        assert_eq!((value.raised_to(), value.epoch()), (Level::from_seconds(90), 2));
    }

    #[test]
    fn use_lifts_level_and_touched_and_never_lowers_them() {
        let value = value();
        let level = Level::from_seconds;
        value.raise(level(9), level(8));
        value.raise(level(7), level(7));
        assert_eq!((value.level().seconds(), value.touched().seconds()), (9, 8));
    }
}
