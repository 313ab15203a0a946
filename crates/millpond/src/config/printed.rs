//! Settings as `config show` prints them, to tell what has become another.

use std::collections::{BTreeMap, BTreeSet};

use super::{Settings, reference};

/// What is printed of settings, without the layers that they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// By the header of a section that stands once, and the key.
    single: BTreeMap<(String, String), String>,
    /// By the header: all tables of a section that there may be several of.
    several: BTreeMap<String, Vec<String>>,
}

/// A setting, or all tables of one section, that is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Its section, as in `[store]`.
    pub(crate) section: String,
    /// Its key; empty for a section that there may be several of.
    pub(crate) key: String,
    /// As it was.
    pub(crate) before: String,
    /// As it is.
    pub(crate) after: String,
}

impl Difference {
    /// Whether it counts from the next start on alone.
    pub(crate) fn counts_at_start(&self) -> bool {
        reference::counts_at_start(&self.section, &self.key)
    }
}

impl Printed {
    /// Of these settings.
    pub(crate) fn of(settings: &Settings) -> Self {
        let (mut single, mut several) = (BTreeMap::new(), BTreeMap::<String, Vec<String>>::new());
        let mut section = String::new();
        for line in settings.to_string().lines().filter(|line| !line.is_empty()) {
            if line.starts_with('[') {
                section = line.to_owned();
                if line.starts_with("[[") {
                    several.entry(section.clone()).or_default().push(String::new());
                }
                continue;
            }
            let setting = line.rsplit_once("  # ").map_or(line, |(setting, _)| setting).trim_end();
            // What nobody gave stands as a comment, with its default in words.
            let unsaid = setting.strip_prefix("# ");
            match several.get_mut(&section).and_then(|tables| tables.last_mut()) {
                Some(_) if unsaid.is_some() => {}
                Some(table) if table.is_empty() => table.push_str(setting),
                Some(table) => *table = format!("{table}, {setting}"),
                None => {
                    let split =
                        unsaid.map_or_else(|| setting.split_once(" = "), |words| words.split_once(": "));
                    if let Some((key, value)) = split {
                        single.insert((section.clone(), key.to_owned()), value.to_owned());
                    }
                }
            }
        }
        Self { single, several }
    }

    /// What is another in `after`.
    pub(crate) fn differences(&self, after: &Self) -> Vec<Difference> {
        let keys: BTreeSet<_> = self.single.keys().chain(after.single.keys()).collect();
        let single = keys.into_iter().map(|place| {
            let value = |of: &Self| of.single.get(place).cloned().unwrap_or_default();
            let (section, key) = place.clone();
            Difference { section, key, before: value(self), after: value(after) }
        });
        let headers: BTreeSet<_> = self.several.keys().chain(after.several.keys()).collect();
        let several = headers.into_iter().map(|header| {
            let tables = |of: &Self| of.several.get(header).map_or_else(String::new, |all| all.join("; "));
            Difference {
                section: header.clone(),
                key: String::new(),
                before: tables(self),
                after: tables(after),
            }
        });
        single.chain(several).filter(|difference| difference.before != difference.after).collect()
    }

    /// Takes over those of `after` that count at once.
    pub(crate) fn take_up(&mut self, after: Self) {
        let at_start = |header: &str, key: &str| reference::counts_at_start(header, key);
        self.single.retain(|(header, key), _| at_start(header, key));
        self.several.retain(|header, _| at_start(header, ""));
        self.single.extend(after.single.into_iter().filter(|((header, key), _)| !at_start(header, key)));
        self.several.extend(after.several.into_iter().filter(|(header, _)| !at_start(header, "")));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Flags, file, merge};
    use super::*;

    fn printed(text: &str) -> Printed {
        let read = file::parse(Path::new("pond.toml"), text).unwrap();
        Printed::of(&merge::merge(Flags::default(), &file::Read::default(), &read))
    }

    fn names(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(|difference| format!("{} {}", difference.section, difference.key)).collect()
    }

    #[test]
    fn what_differs_is_named_whatever_the_line_that_it_stands_in() {
        let before = printed("[store]\nmax_size = '1GB'\nlease = '1h'\n[[retention]]\nkeep = '1d'\n");
        let same =
            printed("# another line\n[store]\nlease = '1h'\nmax_size = '1GB'\n[[retention]]\nkeep = '1d'\n");
        assert_eq!(before.differences(&same), []);
        let after = printed(
            "[store]\nlease = '2h'\ndata = '/x'\n[[retention]]\nkeep = '1d'\n[[retention]]\nkeep_newest = 3\n",
        );
        let found = before.differences(&after);
        assert_eq!(names(&found), ["[store] data", "[store] lease", "[store] max_size", "[[retention]] "]);
        let starts: Vec<_> = found.iter().map(Difference::counts_at_start).collect();
        assert_eq!(starts, [true, false, false, false]);
        assert_eq!((found[1].before.as_str(), found[1].after.as_str()), ("\"1h\"", "\"2h\""));
        assert_eq!(found[3].after, "keep = \"1d\"; keep_newest = 3");
    }

    #[test]
    fn what_counts_at_a_start_differs_until_then() {
        let mut running = printed("");
        let after = printed(
            "[store]\ndata = '/x'\nlease = '2h'\n[[listener]]\naddress = '127.0.0.1:1'\n[[quota]]\nidentities = 'a'\nrequests_per_minute = 1\n",
        );
        running.take_up(after.clone());
        assert_eq!(names(&running.differences(&after)), ["[store] data", "[[listener]] "]);
        running.take_up(printed(""));
        assert_eq!(running, printed(""));
    }
}
