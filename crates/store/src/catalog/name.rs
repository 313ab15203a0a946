//! What a row is found by: instance, kind, text and qualifiers. All four are opaque here.
//!
//! The catalog finds a name by its [`NameKey`], 16 bytes of a SHA-256 over the four, and compares the whole name with
//! what it found: two names with one key cost whoever makes them 2^64 hashes, and harm no other name.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// What kind of name it is. Kinds are separate: the same text may be a name of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NameKind {
    /// A URI that a blob was pushed under.
    AssetBlob = 1,
    /// A URI that a directory was pushed under.
    AssetDirectory = 2,
    /// An action digest with its action result.
    ActionResult = 3,
}

impl NameKind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::AssetBlob),
            2 => Some(Self::AssetDirectory),
            3 => Some(Self::ActionResult),
            _ => None,
        }
    }
}

/// A mutable pointer's name. Cheap to clone only where `text` is short; the cache and the rows each hold one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The instance it belongs to.
    pub instance: Arc<str>,
    /// Its kind.
    pub kind: NameKind,
    /// A URI, or an action digest as `hash/size`.
    pub text: Box<str>,
    /// The qualifiers in their canonical form, empty for none.
    pub qualifiers: Box<str>,
}

/// What the index of the table holds for a [`Name`].
pub(super) type NameKey = [u8; 16];

impl Name {
    /// The key of this name: the first 16 bytes of SHA-256 over kind, and length and bytes of each part.
    pub(super) fn key(&self) -> NameKey {
        let mut hasher = Sha256::new();
        hasher.update([self.kind as u8]);
        for part in [&*self.instance, &*self.text, &*self.qualifiers] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let hash: [u8; 32] = hasher.finalize().into();
        let mut key = NameKey::default();
        for (to, from) in key.iter_mut().zip(hash) {
            *to = from;
        }
        key
    }

    /// About the bytes that this name holds in memory.
    pub(super) fn weight(&self) -> u64 {
        (size_of::<Self>() + self.text.len() + self.qualifiers.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(instance: &str, kind: NameKind, text: &str, qualifiers: &str) -> Name {
        Name { instance: instance.into(), kind, text: text.into(), qualifiers: qualifiers.into() }
    }

    #[test]
    fn key_tells_parts_apart_that_join_to_the_same_text() {
        let keys = [
            name("", NameKind::AssetBlob, "ab", ""),
            name("", NameKind::AssetBlob, "a", "b"),
            name("a", NameKind::AssetBlob, "b", ""),
            name("", NameKind::AssetDirectory, "ab", ""),
        ]
        .map(|name| name.key());
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key), "{index}");
        }
    }
}
