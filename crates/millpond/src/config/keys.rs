//! The sections and keys of a configuration file, and what is said of one that does not fit: in the file's own terms,
//! with the nearest key and where it belongs.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reference::{SECTIONS, Section};

/// What does not fit, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Where in the text, in bytes.
    pub(super) offset: usize,
    /// The key whose value it is about, if it is about one.
    pub(super) key: Option<String>,
    /// What is wrong.
    pub(super) sentence: String,
    /// What to do.
    pub(super) hint: String,
}

impl Misfit {
    /// A key, or a section, that there is already.
    pub(super) fn twice(offset: usize, key: &str) -> Self {
        let sentence = format!("\"{key}\" is given a second time, and once is what it may be");
        let hint = match SECTIONS.iter().find(|section| section.name == key) {
            Some(section) => format!("write {} once, with all of its keys below", section.header()),
            None => "take out one of the two lines".to_owned(),
        };
        Self { offset, key: None, sentence, hint }
    }

    fn new(span: Range<usize>, sentence: String, hint: String) -> Self {
        Self { offset: span.start, key: None, sentence, hint }
    }
}

/// The first section or key that does not fit. Values are not looked at.
pub(super) fn check(file: &DeTable<'_>) -> Result<(), Misfit> {
    for (key, value) in file {
        match SECTIONS.iter().find(|section| section.name == &**key.get_ref()) {
            Some(section) => check_section(section, key.span(), value)?,
            None => return Err(unknown(key.get_ref(), key.span(), None)),
        }
    }
    Ok(())
}

/// The key whose value this byte of the text belongs to.
pub(super) fn key_at<'f>(file: &'f DeTable<'_>, offset: usize) -> Option<&'f str> {
    file.values().find_map(|section| match section.get_ref() {
        DeValue::Table(table) => key_in(table, offset),
        DeValue::Array(tables) => key_within(tables, offset),
        _ => None,
    })
}

fn key_in<'f>(table: &'f DeTable<'_>, offset: usize) -> Option<&'f str> {
    let within = table.values().find_map(|value| key_within(value.get_ref().as_array()?, offset));
    let own =
        || table.iter().find(|(_, value)| value.span().contains(&offset)).map(|(key, _)| &**key.get_ref());
    within.or_else(own)
}

fn key_within<'f>(tables: &'f [Spanned<DeValue<'_>>], offset: usize) -> Option<&'f str> {
    tables.iter().find_map(|table| key_in(table.get_ref().as_table()?, offset))
}

fn check_section(section: &Section, key: Range<usize>, value: &Spanned<DeValue<'_>>) -> Result<(), Misfit> {
    let header = section.header();
    let write = format!("write {header} on a line by itself, and its keys below");
    match value.get_ref() {
        DeValue::Table(table) if !section.many => check_keys(section, key, table),
        DeValue::Table(_) => {
            let sentence = format!("there may be several of [{}], so its brackets are doubled", section.name);
            Err(Misfit::new(key, sentence, format!("write {header}")))
        }
        DeValue::Array(tables) if section.many => tables.iter().try_for_each(|entry| match entry.get_ref() {
            DeValue::Table(table) => check_keys(section, entry.span(), table),
            _ => Err(Misfit::new(entry.span(), format!("each {} is a section", section.name), write.clone())),
        }),
        DeValue::Array(_) => {
            let sentence = format!("there is only one {header}, so its brackets are single");
            Err(Misfit::new(key, sentence, format!("write {header}")))
        }
        _ => Err(Misfit::new(key, format!("{} is a section, not a key", section.name), write)),
    }
}

fn check_keys(section: &Section, span: Range<usize>, table: &DeTable<'_>) -> Result<(), Misfit> {
    for (key, value) in table {
        if let Some(inner) = section.within(key.get_ref()) {
            check_section(inner, key.span(), value)?;
        } else if !section.has(key.get_ref()) {
            return Err(unknown(key.get_ref(), key.span(), Some(section)));
        }
    }
    match section.keys.iter().find(|key| key.required && !table.contains_key(key.name)) {
        Some(key) => {
            let sentence = format!("this {} lacks its {}", section.header(), key.name);
            Err(Misfit::new(span, sentence, format!("add a line: {} = {}", key.name, key.value)))
        }
        None => Ok(()),
    }
}

/// A key that is not known there, with the nearest one that is.
fn unknown(key: &str, span: Range<usize>, section: Option<&Section>) -> Misfit {
    let sentence = match section {
        Some(section) => format!("{} has no key \"{key}\"", section.header()),
        None => format!("there is no section or key \"{key}\" outside the sections"),
    };
    let take_out = || "take it out; docs/configuration.md lists every setting".to_owned();
    Misfit::new(span, sentence, nearest(key, section).unwrap_or_else(take_out))
}

/// The hint that names the nearest section or key, if one is near.
fn nearest(key: &str, section: Option<&Section>) -> Option<String> {
    let sections = SECTIONS.iter().map(|section| section.name);
    let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| key.name));
    let here = |word: &str| section.is_some_and(|section| section.has(word));
    // Of two that are equally near, the one of this section: the first of equals is taken.
    let mut words: Vec<_> = keys.chain(sections).collect();
    words.sort_by_key(|word| !here(word));
    let key_lowercase = key.to_lowercase();
    let inner = section.into_iter().flat_map(Section::inner);
    let inner = nearest_word(&key_lowercase, inner.filter_map(|inner| inner.name.rsplit('.').next()));
    if let Some(inner) = inner.and_then(|name| section?.within(name)) {
        return Some(format!("did you mean the section {}?", inner.header()));
    }
    let word = nearest_word(&key_lowercase, words.into_iter())?;
    if here(word) {
        return Some(format!("did you mean \"{word}\"?"));
    }
    if let Some(section) = SECTIONS.iter().find(|section| section.name == word) {
        return Some(format!("did you mean the section {}?", section.header()));
    }
    let homes: Vec<_> = SECTIONS.iter().filter(|section| section.has(word)).map(Section::header).collect();
    let homes = homes.join(" or ");
    let meant = if key == word { String::new() } else { format!("did you mean \"{word}\"? ") };
    Some(format!("{meant}\"{word}\" belongs below {homes}"))
}

/// The nearest of some words, the first of equals, if more than half of it is as written.
pub(super) fn nearest_word(word: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let near = known.min_by_key(|known| distance(word, known))?;
    let longer = near.chars().count().max(word.chars().count());
    (distance(word, near) * 2 < longer).then_some(near)
}

/// How many letters must be added, taken out or changed to make one word the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, above_left), above) in to.chars().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above_left + usize::from(a != b)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misfit(text: &str) -> (String, String) {
        let table = DeTable::parse(text).unwrap();
        let misfit = check(table.get_ref()).unwrap_err();
        (misfit.sentence, misfit.hint)
    }

    #[test]
    fn distance_counts_letters() {
        for (from, to, steps) in
            [("", "", 0), ("lease", "lease", 0), ("leese", "lease", 1), ("lese", "lease", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(from, to), steps, "{from} {to}");
        }
    }

    #[test]
    fn unknown_keys_are_told_what_is_nearest_and_where_it_belongs() {
        for (text, hint) in [
            ("[store]\nmaxsize = 1", "did you mean \"max_size\"?"),
            ("[store]\nmax-size = 1", "did you mean \"max_size\"?"),
            ("[metrics]\nadress = 1", "did you mean \"address\"?"),
            ("stoer = 1", "did you mean the section [store]?"),
            ("[listeners]", "did you mean the section [[listener]]?"),
            ("data = \"pond\"", "\"data\" belongs below [store]"),
            ("Max-Size = 1", "did you mean \"max_size\"? \"max_size\" belongs below [store]"),
            ("address = 1", "\"address\" belongs below [[listener]] or [metrics]"),
            ("[metrics]\nlease = 1", "\"lease\" belongs below [store]"),
            ("colour = 1", "take it out; docs/configuration.md lists every setting"),
            ("[[issuer]]\n[[issuer.grants]]", "did you mean the section [[issuer.grant]]?"),
        ] {
            assert_eq!(misfit(text).1, hint, "{text}");
        }
    }

    #[test]
    fn sections_written_otherwise_are_told_how() {
        for (text, sentence, hint) in [
            ("[listener]\naddress = 1", "so its brackets are doubled", "write [[listener]]"),
            ("[[store]]", "so its brackets are single", "write [store]"),
            ("store = 1", "store is a section", "write [store] on a line"),
            ("listener = [\"127.0.0.1:1\"]", "each listener is a section", "write [[listener]] on a line"),
            ("[[instance]]", "this [[instance]] lacks its name", "add a line: name = \"main\""),
        ] {
            let (said, advised) = misfit(text);
            assert!(said.contains(sentence) && advised.starts_with(hint), "{text}: {said}, {advised}");
        }
    }
}
