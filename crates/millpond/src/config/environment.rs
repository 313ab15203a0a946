//! Settings from environment variables. They are written down as lines of a file, so that a variable means what its key
//! means there, and is judged by the same words.

use std::env;
use std::ffi::OsString;

use super::file::{self, Read};
use super::reference::{self, Key};
use super::{instance, keys, usage};
use crate::exit::Failure;

/// What our variables begin with. With one underscore they are not settings: Kubernetes sets `MILLPOND_PORT` for a service
/// of this name.
const PREFIX: &str = "MILLPOND__";

/// A variable and its value.
pub(super) type Variable = (OsString, OsString);

/// What the environment says, and a sentence about each variable of ours that says nothing.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) read: Read,
    pub(super) warnings: Vec<String>,
}

/// Reads the environment of this process.
pub(super) fn of_this_process() -> Result<Environment, Failure> {
    read(env::vars_os())
}

/// Reads these variables.
pub(super) fn read(variables: impl Iterator<Item = Variable>) -> Result<Environment, Failure> {
    let mut ours = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        match value.into_string() {
            Ok(value) => ours.push((name.to_owned(), value)),
            Err(_) => {
                return Err(usage(format!("{name} is not UTF-8"), "give it a value that is, or unset it"));
            }
        }
    }
    ours.sort();
    let known = |name: &str| reference::all().any(|(_, key)| key.variable == name);
    let warnings = ours.iter().filter(|(name, _)| !known(name)).map(|(name, _)| unknown(name)).collect();
    Ok(Environment { read: file::parse_variables(&lines(&ours))?, warnings })
}

fn unknown(name: &str) -> String {
    // What all of them begin with makes none of them near.
    let own = |name: &'static str| name.strip_prefix(PREFIX);
    let names = reference::all().filter_map(|(_, key)| own(key.variable));
    let near = keys::nearest_word(name.to_uppercase().trim_start_matches(PREFIX), names);
    let hint = near.map_or("unset it".to_owned(), |near| format!("did you mean {PREFIX}{near}?"));
    format!("{name} is no setting and changes nothing: {hint}")
}

/// The lines of a file that say the same, each with the variable that it comes from.
fn lines(ours: &[(String, String)]) -> Vec<(&'static str, String)> {
    let value_of = |key: &Key| ours.iter().find(|(name, _)| name == key.variable).map(|(_, value)| value);
    let mut lines = Vec::new();
    for section in reference::SECTIONS {
        let given: Vec<_> = section.keys.iter().filter_map(|key| Some((key, value_of(key)?))).collect();
        if let (false, Some((first, _))) = (section.many, given.first()) {
            lines.push((first.variable, section.header()));
        }
        for (key, value) in given {
            if key.listed {
                for item in value.split(',') {
                    lines.push((key.variable, section.header()));
                    let (item, keeps) = match section.name {
                        "instance" => instance::split(item.trim()),
                        _ => (item.trim(), None),
                    };
                    lines.push((key.variable, format!("{} = {}", key.name, quoted(item))));
                    lines.extend(keeps.map(|keeps| (key.variable, format!("keeps = {}", quoted(keeps)))));
                }
            } else {
                let line = format!("{} = {}", key.name, written(key, value));
                // What is for all of a section's tables stands outside of them.
                let place = if section.many { 0 } else { lines.len() };
                lines.insert(place, (key.variable, line));
            }
        }
    }
    lines
}

/// A value as a file has it.
fn written(key: &Key, value: &str) -> String {
    let bare = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
    if bare && !key.value.starts_with('"') { value.to_owned() } else { quoted(value) }
}

/// Text as a file has it.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = "\"".to_owned();
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            _ if character.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limit;
    use crate::size::Size;

    fn variables(pairs: &[(&str, &str)]) -> Result<Environment, Failure> {
        read(pairs.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn variables_mean_what_their_keys_mean() {
        let pairs = [
            ("MILLPOND__STORE__DATA", "/srv/a \"b\" \\ \n"),
            ("MILLPOND__STORE__MAX_SIZE", "60000000"),
            ("MILLPOND__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("MILLPOND__INSECURE", "true"),
            ("MILLPOND__METRICS__ADDRESS", "off"),
            ("MILLPOND__INSTANCE", "main,:storage-only"),
        ];
        let Environment { read, warnings } = variables(&pairs).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(read.file.store.data.unwrap().get_ref().to_str().unwrap(), pairs[0].1);
        assert_eq!(*read.file.store.max_size.unwrap().get_ref(), Limit::Bytes(Size(60_000_000)));
        assert_eq!(read.file.listener.len(), 2);
        let [main, empty] = &read.file.instance[..] else { panic!("{:?}", read.file.instance) };
        assert!(main.name.get_ref() == "main" && main.keeps.is_none() && empty.name.get_ref().is_empty());
        assert_eq!(empty.keeps.as_ref().unwrap().get_ref().word(), "storage-only");
        assert!(*read.file.insecure.unwrap().get_ref());
    }

    #[test]
    fn every_variable_is_a_setting() {
        for (section, key) in reference::all().filter(|(_, key)| !key.variable.is_empty()) {
            let value = key.value.trim_matches('"');
            let said =
                variables(&[(key.variable, value)]).unwrap_or_else(|said| panic!("{}: {said}", key.variable));
            assert!(said.warnings.is_empty(), "{} {}", section.name, key.name);
        }
    }

    #[test]
    fn bad_values_are_refused_by_the_name_of_their_variable() {
        for (name, value) in [
            ("MILLPOND__STORE__MAX_SIZE", "12 parsecs"),
            ("MILLPOND__STORE__LEASE", "3"),
            ("MILLPOND__LISTEN", "127.0.0.1:1,"),
            ("MILLPOND__INSECURE", "yes"),
            ("MILLPOND__INSTANCE", "main,other:blobs"),
            ("MILLPOND__METRICS__INSECURE", "1"),
        ] {
            let pairs =
                [("MILLPOND__STORE__DATA", "a"), (name, value), ("MILLPOND__LIMITS__REQUEST_MEMORY", "1GB")];
            let said = variables(&pairs).unwrap_err().to_string();
            assert!(said.starts_with(&format!("error: {name}: ")), "{said}");
        }
    }

    #[test]
    fn unknown_variables_of_ours_are_told_and_others_ignored() {
        let pairs = [
            ("MILLPOND_PORT", "tcp://10.0.0.1:11001"),
            ("MILLPOND_LOG", "info"),
            ("MILLPOND__STORE__MAXSIZE", "1GB"),
            ("PATH", "/bin"),
        ];
        let warnings = variables(&pairs).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].ends_with("did you mean MILLPOND__STORE__MAX_SIZE?"), "{warnings:?}");
    }
}
