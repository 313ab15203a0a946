//! Reads segments one after the other and follows the chain through them.
//!
//! A segment may end in bytes that are no lines: a write that a crash broke off. The head of the next one says how many
//! they are, so that nothing else can hide there.

use super::line::{self, Entry, Hash, Head};

/// Where the chain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// The hash of the last line that holds.
    pub(super) hash: Hash,
    /// The number of the last entry.
    pub(super) seq: u64,
}

/// The chain up to the end of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// None before the first segment that is there: what it says of those before is believed.
    pub(super) link: Option<Link>,
    /// Bytes behind the last line that holds.
    pub(super) torn: u64,
    /// They have whole lines among them.
    pub(super) torn_lines: bool,
}

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The number that the entry has or would have.
    pub(super) seq: u64,
}

impl Walk {
    /// Follows the chain through the next segment. A segment without a head that can be read belongs to what is torn.
    pub(super) fn segment(
        &mut self,
        number: u64,
        content: &[u8],
        mut visit: impl FnMut(Entry),
    ) -> Result<(), Misfit> {
        let first =
            content.iter().position(|byte| *byte == b'\n').and_then(|end| content.split_at_checked(end));
        let Some((head, hash, rest)) = first.and_then(|(line, rest)| {
            let (content, hash) = line::split(line)?;
            let head: Head = serde_json::from_slice(content).ok()?;
            let before = line::from_hex(&head.before)?;
            let holds = line::chained(&before, content) == hash && head.segment == number;
            holds.then_some(((head, before), hash, rest.get(1..)?))
        }) else {
            self.tear(content);
            return Ok(());
        };
        let (head, before) = head;
        let said = Link { hash: before, seq: head.first.saturating_sub(1) };
        if self.link.is_some_and(|link| link != said || head.torn != self.torn) {
            return Err(self.misfit());
        }
        let mut link = Link { hash, seq: said.seq };
        (self.torn, self.torn_lines) = (0, false);
        let mut rest = rest;
        while let Some((entry, hash, behind)) = next(&link, rest) {
            link = Link { hash, seq: entry.seq };
            visit(entry);
            rest = behind;
        }
        self.link = Some(link);
        if !rest.is_empty() {
            self.tear(rest);
        }
        Ok(())
    }

    fn tear(&mut self, content: &[u8]) {
        self.torn += content.len() as u64;
        self.torn_lines |= content.contains(&b'\n');
    }

    /// The first entry that is not there as it was written.
    pub(super) fn misfit(&self) -> Misfit {
        Misfit { seq: self.link.map_or(1, |link| link.seq + 1) }
    }
}

fn next<'c>(link: &Link, content: &'c [u8]) -> Option<(Entry, Hash, &'c [u8])> {
    let end = content.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = content.split_at_checked(end)?;
    let (json, hash) = line::split(line)?;
    let entry: Entry = serde_json::from_slice(json).ok()?;
    let holds = line::chained(&link.hash, json) == hash && entry.seq == link.seq + 1;
    holds.then_some((entry, hash, rest.get(1..)?))
}
