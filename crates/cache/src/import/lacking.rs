//! What a name needs and cannot be had, in words.

use std::borrow::Cow;
use std::collections::HashSet;

use millpond_store::Digest;

use super::Found;
use crate::upstream::Trouble;

/// Said of a blob that is not where it is brought from, ...
pub(super) const NOT_THERE: &str = "is not there, or has another size";
/// ... and of one that has another hash.
pub(super) const OTHER_BYTES: &str = "has other bytes there";

/// Why a blob is lacking.
#[derive(Clone, Debug)]
pub(super) enum Lack {
    /// It is not to be had there.
    Gone(&'static str),
    /// It could not be asked for, and may well be there.
    Unknown(Trouble),
}

/// Blobs that are known to count already; of more than that some may count twice.
const KNOWN_MAX: usize = 10_000;

/// What could not be brought.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    first: Option<(Digest, Cow<'static, str>)>,
    known: HashSet<Digest>,
    /// How often something was lacking, known or not.
    met: u64,
    count: u64,
    unknown: u64,
}

impl Lacking {
    pub(super) fn add(&mut self, digest: Digest, why: Lack) {
        self.met += 1;
        if self.known.contains(&digest) {
            return;
        }
        if self.known.len() < KNOWN_MAX {
            self.known.insert(digest);
        }
        self.count += 1;
        let why = match why {
            Lack::Gone(why) => why.into(),
            Lack::Unknown(why) => {
                self.unknown += 1;
                format!("cannot be had: {why}").into()
            }
        };
        self.first.get_or_insert((digest, why));
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Rises with everything that is lacking, also with what lacked before.
    pub(super) fn met(&self) -> u64 {
        self.met
    }

    pub(super) fn or_ok(&self) -> Found<()> {
        match &self.first {
            None => Ok(()),
            Some((digest, why)) if self.count == 1 => Err(format!("it needs {digest}, which {why}")),
            Some((digest, why)) => Err(format!(
                "it needs {} blobs that cannot be had, among them {digest}, which {why}",
                self.count
            )),
        }
    }

    /// For what a name may do without: what is not there is no matter, what may be there is.
    pub(super) fn or_ok_if_gone(&self) -> Found<()> {
        if self.unknown == 0 { Ok(()) } else { self.or_ok() }
    }
}
