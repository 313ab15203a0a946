//! What an operator wants pinned, and which pins taken out.

use millpond_store::catalog::{Pin, Value};

use crate::name::short;
use crate::{Error, Pattern, Result};

/// The most values of a name that a pin keeps.
const REVISIONS_MAX: u32 = 1000;
/// Bytes in a reason, and in the name of an owner.
const TEXT_BYTES_MAX: usize = 1024;

/// What is to be pinned, and how.
#[derive(Clone, Debug)]
pub struct PinWanted {
    /// Names like this, as a [`Grant`](crate::Grant) has them.
    pub pattern: Pattern,
    /// Of this instance; of all if there is none.
    pub instance: Option<String>,
    /// Why.
    pub reason: String,
    /// Who wants it; whoever asks, if nobody is named.
    pub owner: Option<String>,
    /// Until when, in Unix seconds; for ever if that is not given.
    pub until: Option<u64>,
    /// How many values are kept of a name that is pushed again, the one in force among them; at least 1.
    pub revisions: u32,
    /// With the artifacts that theirs were built with, and what those were, each by its name.
    pub dependencies: bool,
    /// With the sources of all these artifacts, each by its name.
    pub sources: bool,
    /// Nothing is pinned: only told what would be.
    pub dry_run: bool,
}

/// Which pins are meant: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub struct PinsWanted {
    /// With this number.
    pub id: Option<u64>,
    /// With a pattern of names that is this one, or is like it.
    pub pattern: Option<Pattern>,
    /// Of this instance.
    pub instance: Option<String>,
    /// Made for this reason.
    pub reason: Option<String>,
}

impl PinsWanted {
    /// Whether this pin is meant.
    pub(super) fn matches(&self, pin: &Pin) -> bool {
        let terms = &pin.terms;
        let is_like =
            |pattern: &Pattern| pattern.to_string() == *terms.pattern || pattern.matches(&terms.pattern);
        self.id.is_none_or(|id| id == pin.id)
            && self.pattern.as_ref().is_none_or(is_like)
            && self.instance.as_ref().is_none_or(|instance| terms.instance.as_deref() == Some(&**instance))
            && self.reason.as_ref().is_none_or(|reason| **reason == *terms.reason)
    }
}

impl PinWanted {
    /// Refuses what makes no sense at `now`, in Unix seconds.
    pub(super) fn check(&self, now: u64) -> Result<()> {
        if self.until.is_some_and(|until| until <= now) {
            return Err(Error::Invalid("the pin would be over already: give a later time".into()));
        }
        if !(1..=REVISIONS_MAX).contains(&self.revisions) {
            return Err(Error::Invalid(format!(
                "{} revisions: give 1 for the value in force alone, and at most {REVISIONS_MAX}",
                self.revisions
            )));
        }
        let texts = [Some(&self.reason), self.owner.as_ref()];
        if let Some(text) = texts.into_iter().flatten().find(|text| text.len() > TEXT_BYTES_MAX) {
            let bytes = text.len();
            let sentence = format!("a reason or an owner of {bytes} bytes: give at most {TEXT_BYTES_MAX}");
            return Err(Error::Invalid(sentence));
        }
        Ok(())
    }

    /// Whether this value is meant.
    pub(super) fn is_for(&self, value: &Value) -> bool {
        self.instance.as_ref().is_none_or(|instance| **instance == *value.name.instance)
            && self.pattern.matches(&short(&value.name))
    }
}
