//! Which names are pinned, and until when.
//!
//! The pins of the catalog, made ready for being asked of every name: most of them are names, a few are patterns. What they keep
//! is for a [`Plan`](crate::retention::Plan) to say, which has rules and pins together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millpond_store::Level;
use millpond_store::catalog::{Catalog, Name, Pin, PinTerms, Revisions};

use crate::name::short;
use crate::{Pattern, Result};

/// The pins at one moment.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// In the order in which they were made.
    all: Vec<Pin>,
    /// Where those stand that are a name.
    exact: HashMap<Box<str>, Vec<usize>>,
    patterns: Vec<(Pattern, usize)>,
}

impl Pins {
    pub(crate) fn new(all: Vec<Pin>) -> Self {
        let mut pins = Self { all, ..Self::default() };
        for (at, pin) in pins.all.iter().enumerate() {
            let text = &pin.terms.pattern;
            if !text.contains('*') {
                pins.exact.entry(text.clone()).or_default().push(at);
                continue;
            }
            match Pattern::new(&**text) {
                Ok(pattern) => pins.patterns.push((pattern, at)),
                // It was read when it was made; by another release, perhaps.
                Err(error) => tracing::warn!(pin = pin.id, %error, "a pin fits nothing"),
            }
        }
        pins
    }

    /// How many hold at this time, in Unix seconds.
    pub(crate) fn count_at(&self, now: u64) -> usize {
        self.all.iter().filter(|pin| is_in_force(&pin.terms, now)).count()
    }

    /// Whether there are none, also such as are over.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, in the order in which they were made.
    pub(crate) fn all(&self) -> &[Pin] {
        &self.all
    }

    /// Until when they keep a name, at this time, in Unix seconds; the lowest level if none does.
    pub(crate) fn keep_until(&self, name: &Name, now: u64) -> Level {
        self.of(name, now).map(|pin| holds_until(&pin.terms)).max().unwrap_or(Level::ZERO)
    }

    /// How many values of a name they keep at this time, in Unix seconds, the one in force among them.
    pub(crate) fn revisions(&self, name: &Name, now: u64) -> u32 {
        self.of(name, now).map(|pin| pin.terms.revisions).max().unwrap_or(1)
    }

    /// Those that this name is pinned by at this time, in Unix seconds.
    pub(crate) fn of<'p>(&'p self, name: &'p Name, now: u64) -> impl Iterator<Item = &'p Pin> {
        let short = short(name);
        let exact = self.exact.get(&*short).into_iter().flatten().copied();
        let like =
            self.patterns.iter().filter(move |(pattern, _)| pattern.matches(&short)).map(|(_, at)| *at);
        exact.chain(like).filter_map(|at| self.all.get(at)).filter(move |pin| {
            let terms = &pin.terms;
            terms.instance.as_ref().is_none_or(|instance| **instance == *name.instance)
                && is_in_force(terms, now)
        })
    }
}

fn is_in_force(terms: &PinTerms, now: u64) -> bool {
    terms.until.is_none_or(|until| until > now)
}

/// The level of what is pinned like this.
pub(crate) fn holds_until(terms: &PinTerms) -> Level {
    // A level is a whole second: the one behind it has none of those that are meant.
    terms.until.map_or(Level::PINNED, |until| Level::from_unix(until).plus(1))
}

/// The pins as they are now.
#[derive(Debug, Default)]
pub(crate) struct PinsInForce {
    now: Mutex<Arc<Pins>>,
    /// Held over a reading, so that the last to read is the last to say; pushes never wait for it.
    reading: Mutex<()>,
}

impl PinsInForce {
    /// As they are now.
    pub(crate) fn now(&self) -> Arc<Pins> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them anew from the catalog. Blocks.
    pub(crate) fn reload(&self, catalog: &Catalog) -> Result<()> {
        let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let pins = Arc::new(Pins::new(catalog.pins()?));
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = pins;
        Ok(())
    }
}

impl Revisions for PinsInForce {
    fn kept_of(&self, name: &Name) -> u32 {
        // By pins that are over, too: what they keep is forgotten a little later.
        self.now().revisions(name, 0)
    }
}

#[cfg(test)]
mod tests {
    use millpond_store::catalog::{NameKind, PinTerms};

    use super::*;

    fn pin(id: u64, pattern: &str, instance: Option<&str>, until: Option<u64>) -> Pin {
        let terms = PinTerms {
            pattern: pattern.into(),
            instance: instance.map(Into::into),
            reason: "".into(),
            owner: "".into(),
            made: 0,
            until,
            revisions: 1,
        };
        Pin { id, terms }
    }

    #[test]
    fn name_is_pinned_by_what_it_is_like_in_its_instance_until_that_ends() {
        let pins = Pins::new(vec![
            pin(1, "a:*", None, Some(11)),
            pin(2, "a:x", Some("main"), None),
            pin(3, "a:*y", Some(""), Some(12)),
            pin(4, "b:x", None, Some(10)),
        ]);
        let of = |instance: &str, text: &str| {
            let name = Name {
                instance: instance.into(),
                kind: NameKind::AssetBlob,
                text: text.into(),
                qualifiers: "".into(),
            };
            pins.of(&name, 10).map(|pin| pin.id).collect::<Vec<_>>()
        };
        assert_eq!(of("", "a:x"), [1]);
        assert_eq!(of("main", "a:x"), [2, 1]);
        assert_eq!(of("", "a:xy"), [1, 3]);
        assert_eq!(of("main", "a:xy"), [1]);
        assert_eq!((of("", "b:x").len(), of("", "c").len()), (0, 0));
    }
}
