//! What a page shows: commands, each with what it is to print, and whether what was printed is that.

/// Stands for anything, also for several lines or none of the line's words.
const ANYTHING: char = '…';

/// A command as the page has it.
pub(crate) struct Shown {
    /// Where it stands.
    pub(crate) line: usize,
    /// With the lines that continue it.
    pub(crate) command: String,
    /// What stands below it.
    pub(crate) output: String,
}

impl Shown {
    /// Whether the page shows that it ends with another code than 0.
    pub(crate) fn fails(&self) -> bool {
        self.output.lines().any(|line| line.starts_with("error: "))
    }
}

/// The commands of a page, in its order.
pub(crate) fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    // How far the block is indented, while there is one.
    let mut block = None;
    for (number, line) in (1..).zip(page.lines()) {
        let words = line.trim_start();
        let Some(indent) = block else {
            block = (words == "```console").then_some(line.len() - words.len());
            continue;
        };
        let line = line.get(indent..).unwrap_or_default();
        let goes_on = found.last().is_some_and(|shown| shown.command.ends_with('\\'));
        if words == "```" {
            block = None;
        } else if let Some(command) = line.strip_prefix("$ ") {
            found.push(Shown { line: number, command: command.to_owned(), output: String::new() });
        } else {
            let shown = found.last_mut().expect("a block begins with a command");
            let part = if goes_on { &mut shown.command } else { &mut shown.output };
            if !part.is_empty() {
                part.push('\n');
            }
            part.push_str(line);
        }
    }
    found
}

/// Whether something was printed that is what is shown but for figures, digests, dates and the room between columns.
pub(crate) fn is_like(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (masked(shown), masked(printed));
    let mut parts = shown.split(ANYTHING);
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The same without what differs from one run to the next.
pub(crate) fn masked(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(masked_line).collect();
    lines.join("\n").trim().to_owned()
}

fn masked_line(line: &str) -> String {
    let mut masked = String::new();
    for part in line.split_inclusive(|c: char| !c.is_alphanumeric() && c != '.') {
        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        masked.push_str(if varies(word) { "#" } else { word });
        masked.push_str(&part[word.len()..]);
    }
    let words: Vec<&str> = masked.split_whitespace().collect();
    let mut masked = words.join(" ");
    for unit in ["KB", "MB", "GB", "TB"] {
        masked = masked.replace(&format!("# {unit}"), "# B");
    }
    masked
}

/// Whether a word is a number, a time, a part of a date, or a digest or what it begins with.
fn varies(word: &str) -> bool {
    let is_number = word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_digit() || ".wdhmsTZ".contains(c));
    let is_digest = word.len() >= 8
        && word.contains(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_hexdigit());
    is_number || is_digest
}

#[test]
fn what_is_printed_is_compared_but_for_what_varies() {
    let shown = "in use: 1.0 MB of 2.5 GB (7 %)\n…\nlistening on 127.0.0.1:11001";
    assert!(is_like(shown, "in use:  47 B of 1 GB (12 %)\na line\nanother\nlistening on 127.0.0.1:4\n"));
    assert!(!is_like(shown, "in use: 47 B of 1 GB (12 %)\na line\nlistening on 127.0.0.1:4\nand more\n"));
    assert!(!is_like(shown, "in use: 47 B of 1 GB\na line\nlistening on 127.0.0.1:4\n"));
    assert!(is_like(
        "reaches back: 1m11s, to 2026-11-26T19:24:26Z",
        "reaches back: 9s, to 2027-01-01T00:00:00Z"
    ));
    assert!(is_like("…b30b64ce/18", "of deadbee1/7"));
    assert!(!is_like("removed: 1 name", "removed: 1 pin"));
}

#[test]
fn commands_are_read_with_what_they_print() {
    let page = "```console\n$ one \\\n    more\n  done\n$ two\n```\n   ```console\n   $ three\n   error: no\n   ```\n$ none\n";
    let read = commands(page);
    let read: Vec<_> = (read.iter())
        .map(|shown| (shown.line, shown.command.as_str(), shown.output.as_str(), shown.fails()))
        .collect();
    assert_eq!(
        read,
        [(2, "one \\\n    more", "  done", false), (5, "two", "", false), (8, "three", "error: no", true)]
    );
}
