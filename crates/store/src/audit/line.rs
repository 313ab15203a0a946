//! A line of the audit log: JSON, a space, the hash that chains it to the line before, a line feed. Described in
//! `docs/on-disk-format.md`.
//!
//! **Invariant:** a hash is the SHA-256 of the hash before and of the JSON. No line can be changed, taken out or put in without
//! all hashes behind it being others.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What chains a line to those before.
pub(super) type Hash = [u8; 32];

/// Hex digits of a hash.
const HEX: usize = 64;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// A name was given its first value.
    Published,
    /// A name was given another value.
    Replaced,
    /// A value waits for its blobs, and is not served.
    Waits,
    /// A push was answered well, and the name kept the value that it had.
    Kept,
    /// A push was refused, since the name keeps the value that it has.
    Refused,
    /// A value was removed.
    Removed,
    /// A value was removed, and may come back.
    SetAside,
    /// A value that had been removed is in force again.
    Restored,
    /// Names were pinned.
    Pinned,
    /// A pin was taken out.
    Unpinned,
    /// Somebody who is known was refused, for want of a right.
    Denied,
    /// The server's own keys were made.
    ServerKeys,
    /// A client was given a certificate.
    CertificateIssued,
    /// A client's certificates were taken back.
    CertificateRevoked,
    /// A client was given a token.
    TokenIssued,
    /// A client's tokens were taken back.
    TokenRevoked,
    /// Settings of the server were changed while it ran.
    Configured,
    /// What the server logs was changed while it ran.
    LogChanged,
}

/// An entry: who did what, when and from where. What does not apply is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1 on; given when it is written.
    pub seq: u64,
    /// When, in seconds since the Unix epoch.
    pub time: u64,
    /// What.
    pub what: Deed,
    /// Who; empty for somebody unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    /// Where from: an IP address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// In which instance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The name that it was done to; of keys and tokens, whose they are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The value's digest, `hash/size`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The same was done so many times more, without an entry for each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The first line of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the format: 1.
    pub millpond_audit: u32,
    /// The number in the file's name.
    pub segment: u64,
    /// The number of the first entry in it.
    pub first: u64,
    /// The hash of the last line before, in hexadecimal digits.
    pub before: String,
    /// Bytes at the end of what lies before that were not written to their end, and are no entries.
    pub torn: u64,
}

/// Appends a line, and says its hash.
pub(super) fn encode(
    to: &mut Vec<u8>,
    before: &Hash,
    content: &impl Serialize,
) -> Result<Hash, serde_json::Error> {
    let start = to.len();
    serde_json::to_writer(&mut *to, content)?;
    let hash = chained(before, to.get(start..).unwrap_or_default());
    to.push(b' ');
    to.extend_from_slice(hex(&hash).as_bytes());
    to.push(b'\n');
    Ok(hash)
}

/// A line without its line feed: the JSON and the hash that it claims.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], Hash)> {
    let (content, end) = line.split_at_checked(line.len().checked_sub(HEX + 1)?)?;
    let hash = from_hex(std::str::from_utf8(end.strip_prefix(b" ")?).ok()?)?;
    Some((content, hash))
}

/// The hash of a line with this JSON.
pub(super) fn chained(before: &Hash, content: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(content);
    hasher.finalize().into()
}

/// In hexadecimal digits.
pub(super) fn hex(hash: &Hash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).map_or('0', |digit| char::from(*digit));
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The hash that these digits say, in lower case as they are written.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut hash = Hash::default();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(hash)
}
