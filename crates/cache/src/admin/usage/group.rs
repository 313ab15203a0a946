//! Groups of names, by what was asked for, and what each was counted to hold.

use std::collections::HashMap;

use millpond_store::catalog::Value;

use super::Held;
use crate::Sort;
use crate::admin::names::project;
use crate::name::short;

const DAY: u64 = 24 * 3600;
/// Upper ends of ages: a day, 7 days, 30 days, a year.
const AGES: [u64; 4] = [DAY, 7 * DAY, 30 * DAY, 365 * DAY];
/// Groups that are told apart take at most so many bytes of memory together.
const BYTES_MAX: usize = 32 << 20;
/// What a group takes beside what it is called, about.
const GROUP_BYTES: usize = 160;

/// Names that are not asked for. There is no group 0.
pub(super) const REST: u32 = 1;
/// Names that wait for their blobs.
pub(super) const PENDING: u32 = 2;
/// Names that were removed and may come back.
pub(super) const REMOVED: u32 = 3;
/// The first of the others.
const FIRST: u32 = 4;

/// What names are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// The project of artifacts.
    #[default]
    Project,
    /// The element of artifacts, with its project.
    Element,
    /// What a name is of.
    Sort,
    /// The instance that a name belongs to.
    Instance,
    /// How long ago a name was pushed.
    Pushed,
    /// How long ago a name was last used.
    Used,
}

/// A group of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// A project, an element as `PROJECT/ELEMENT`, or an instance.
    Called(Box<str>),
    /// Of this sort; also those that have no project or element.
    Sort(Sort),
    /// Younger than so many seconds, and not in a group before; `None`: older.
    Within(Option<u64>),
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    by: GroupBy,
    numbers: HashMap<Group, u32>,
    held: Vec<Held>,
    bytes: usize,
}

impl Groups {
    pub(super) fn new(by: GroupBy) -> Self {
        Self { by, numbers: HashMap::new(), held: vec![Held::default(); FIRST as usize], bytes: 0 }
    }

    /// The number of the group that a value is of.
    pub(super) fn of(&mut self, value: &Value, used: impl FnOnce() -> u64, now: u64) -> u32 {
        let within = |time: u64| {
            let age = now.saturating_sub(time);
            Group::Within(AGES.into_iter().find(|end| age < *end))
        };
        let group = match self.by {
            GroupBy::Project => called(value, project),
            GroupBy::Element => called(value, element),
            GroupBy::Sort => Group::Sort(Sort::of(value)),
            GroupBy::Instance => Group::Called((&*value.name.instance).into()),
            GroupBy::Pushed => within(value.pushed),
            GroupBy::Used => within(used()),
        };
        if let Some(number) = self.numbers.get(&group) {
            return *number;
        }
        let bytes = GROUP_BYTES + if let Group::Called(called) = &group { called.len() } else { 0 };
        let Some(number) = u32::try_from(self.held.len()).ok().filter(|_| self.bytes + bytes <= BYTES_MAX)
        else {
            return REST;
        };
        self.bytes += bytes;
        self.numbers.insert(group, number);
        self.held.push(Held::default());
        number
    }

    fn change(&mut self, group: u32, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.held.get_mut(group as usize) {
            change(held);
        }
    }

    /// It has a name more.
    pub(super) fn count(&mut self, group: u32, kept: bool) {
        self.change(group, |held| {
            held.names += 1;
            held.kept_names += u64::from(kept);
        });
    }

    /// It reaches so many bytes more.
    pub(super) fn add(&mut self, group: u32, bytes: u64) {
        self.change(group, |held| held.bytes += bytes);
    }

    /// No other reaches these bytes.
    pub(super) fn add_unique(&mut self, group: u32, bytes: u64) {
        self.change(group, |held| held.unique += bytes);
    }

    /// What it holds.
    pub(super) fn held(&self, group: u32) -> Held {
        self.held.get(group as usize).copied().unwrap_or_default()
    }

    /// Those that were asked for.
    pub(super) fn into_named(mut self) -> Vec<(Group, Held)> {
        let numbers = std::mem::take(&mut self.numbers);
        numbers.into_iter().map(|(group, number)| (group, self.held(number))).collect()
    }
}

/// `PROJECT/ELEMENT` of an artifact, by its short name.
fn element(short_name: &str) -> Option<&str> {
    let whole = short_name.strip_prefix("artifact:")?;
    let (element, _key) = whole.rsplit_once('/')?;
    element.contains('/').then_some(element)
}

fn called(value: &Value, part: impl Fn(&str) -> Option<&str>) -> Group {
    part(&short(&value.name)).map_or_else(|| Group::Sort(Sort::of(value)), |part| Group::Called(part.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_of_an_artifact_is_what_lies_before_its_key() {
        for (name, found) in [
            ("artifact:sdk/base/abc", Some("sdk/base")),
            ("artifact:sdk/base-x/y/abc", Some("sdk/base-x/y")),
            ("artifact:sdk/abc", None),
            ("artifact:sdk", None),
            ("source:abc", None),
            ("https://example.org/a/b/c", None),
        ] {
            assert_eq!(element(name), found, "{name}");
        }
    }
}
