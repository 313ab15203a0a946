//! Whatever a file says, it is taken or refused in words.

use std::path::Path;

use super::{Flags, check, file, merge};

/// Takes it, checks it and shows it; what is shown says the same.
pub(crate) fn take(text: &str) {
    let read = match file::parse(Path::new("pond.toml"), text) {
        Ok(read) => read,
        Err(refused) => {
            let words = refused.to_string();
            assert!(words.starts_with("error: pond.toml, line ") && words.contains("\nhint: "), "{words}");
            return;
        }
    };
    let settings = merge::merge(Flags::default(), &file::Read::default(), &read);
    if check::check(&settings).is_ok() {
        let shown = file::parse(Path::new("shown.toml"), settings.to_string());
        assert!(shown.is_ok(), "{settings}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{environment, reference};
    use super::take;

    /// The file with all settings in it, taken in.
    fn whole() -> String {
        let lines = reference::file();
        let taken = lines
            .lines()
            .map(|line| if line.starts_with("# ") { line } else { line.trim_start_matches('#') });
        taken.collect::<Vec<_>>().join("\n")
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,200}") {
            take(&text);
        }

        #[test]
        fn changed_settings_are_taken_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "\\PC{0,6}"), 1..6),
        ) {
            let mut text: Vec<char> = whole().chars().collect();
            for (place, length, instead) in changes {
                let begin = place.index(text.len());
                let end = text.len().min(begin + length);
                text.splice(begin..end, instead.chars());
            }
            take(&text.into_iter().collect::<String>());
        }

        #[test]
        fn any_variables_are_taken_or_refused(
            pairs in prop::collection::vec(("MILLPOND__(STORE|LIMITS|LISTEN|X)(__[A-Z_]{0,12})?", "\\PC{0,12}"), 0..5),
        ) {
            let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
            if let Err(refused) = environment::read(pairs) {
                assert!(refused.to_string().contains("\nhint: "));
            }
        }
    }
}
