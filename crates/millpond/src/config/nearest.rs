//! Finds the known key that a mistyped one was probably meant to be.

/// What to do about a configuration error: the nearest key where one is close, else what the keys are.
///
/// `message` is serde's: for an unknown key it quotes that key and then each known one in backticks.
pub(super) fn hint(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return "correct that line; docs/configuration.md lists every setting".into();
    }
    let unknown = quoted.next().unwrap_or_default();
    let nearest = quoted.map(|known| (distance(unknown, known), known)).min();
    match nearest {
        Some((steps, known)) if steps * 2 < known.len().max(unknown.len()) => {
            format!("did you mean \"{known}\"?")
        }
        _ => "take that line out; docs/configuration.md lists every setting".into(),
    }
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

    #[test]
    fn distance_counts_letters() {
        for (from, to, steps) in
            [("", "", 0), ("lease", "lease", 0), ("leese", "lease", 1), ("lese", "lease", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(from, to), steps, "{from} {to}");
        }
    }

    #[test]
    fn nothing_near_is_not_guessed() {
        let said = hint("unknown field `colour`, expected one of `data`, `max_size`, `lease`");
        assert!(said.starts_with("take that line out"), "{said}");
    }
}
