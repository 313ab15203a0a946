//! Large messages, read a piece at a time.
//!
//! A field of two bytes can become a hundred and more in memory, and a message of 16 MiB has room for eight million. So whole
//! fields are decoded as far as [`PIECE_BYTES`] at a time, and what a walk needs of them is taken out before the next.
//!
//! **Invariant:** what is in memory of a message beside its bytes is bounded by [`FIELD_BYTES_MAX`], whatever was pushed; what
//! is read of it is what a decoder of the whole would read, unless a field is too large, which refuses the message.

use bytes::Bytes;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use crate::{Error, Result};

/// Bytes that are decoded at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The largest field that is decoded, but for those that take no more in memory than they have.
const FIELD_BYTES_MAX: usize = 256 << 10;

/// A message that can be read in pieces.
pub(crate) trait InPieces: Message + Default {
    /// Whether a field takes about as much memory as it has bytes: text and bytes do.
    fn is_plain(tag: u32, value: &[u8]) -> bool {
        let _ = (tag, value);
        false
    }
}

/// Reads a message. After each piece `take` is given what was read so far and not taken out of it; what it leaves is read on,
/// and returned in the end.
///
/// # Errors
/// What `take` returns, and what `bad` makes of a sentence about a message that is malformed.
pub(crate) fn read<M: InPieces>(
    content: Bytes,
    mut take: impl FnMut(&mut M) -> Result<()>,
    bad: impl Fn(&dyn std::fmt::Display) -> Error,
) -> Result<M> {
    let (mut message, mut rest) = (M::default(), content);
    loop {
        let len = if rest.len() <= PIECE_BYTES {
            rest.len()
        } else {
            next_piece::<M>(&rest).map_err(|trouble| trouble.said(&bad))?
        };
        message.merge(rest.split_to(len)).map_err(|error| bad(&error))?;
        take(&mut message)?;
        if rest.is_empty() {
            return Ok(message);
        }
    }
}

/// The values of a message's fields that are messages, text or bytes, each with its number.
pub(super) fn fields(content: Bytes) -> impl Iterator<Item = Result<(u32, Bytes), DecodeError>> {
    let mut rest = content.clone();
    std::iter::from_fn(move || {
        loop {
            let mut walk = &rest[..];
            let (tag, value) = match next_field(&mut walk) {
                Ok(Some(found)) => found,
                Ok(None) => return None,
                Err(error) => {
                    rest.clear();
                    return Some(Err(error));
                }
            };
            let value = value.map(|value| rest.slice_ref(value));
            let passed = rest.len() - walk.len();
            let _ = rest.split_to(passed);
            if let Some(value) = value {
                return Some(Ok((tag, value)));
            }
        }
    })
}

/// Whether a message is small but for its field with this number.
pub(super) fn is_small_beside(plain: u32, mut message: &[u8]) -> bool {
    let (all, mut beside) = (message.len(), 0);
    // What is malformed is for its decoder to refuse, at once.
    while let Ok(Some((tag, value))) = next_field(&mut message) {
        beside += value.filter(|_| tag == plain).map_or(0, <[u8]>::len);
    }
    all - beside <= FIELD_BYTES_MAX
}

enum Trouble {
    Malformed(DecodeError),
    Large { tag: u32, bytes: usize },
}

impl Trouble {
    fn said(&self, bad: &impl Fn(&dyn std::fmt::Display) -> Error) -> Error {
        match self {
            Self::Malformed(error) => bad(error),
            Self::Large { tag, bytes } => {
                bad(&format_args!("its field {tag} has {bytes} bytes: at most {FIELD_BYTES_MAX} are read"))
            }
        }
    }
}

/// How many bytes the next piece has: whole fields, as many as fit, but at least one.
fn next_piece<M: InPieces>(rest: &[u8]) -> Result<usize, Trouble> {
    let (mut walk, mut len) = (rest, 0);
    while let Some((tag, value)) = next_field(&mut walk).map_err(Trouble::Malformed)? {
        let value = value.unwrap_or_default();
        if value.len() > FIELD_BYTES_MAX && !M::is_plain(tag, value) {
            return Err(Trouble::Large { tag, bytes: value.len() });
        }
        let end = rest.len() - walk.len();
        if end > PIECE_BYTES {
            // One that is larger than any piece is one by itself.
            return Ok(if len == 0 { end } else { len });
        }
        len = end;
    }
    Ok(rest.len())
}

/// A field's number, and its value if it is a message, text or bytes.
type Field<'m> = (u32, Option<&'m [u8]>);

/// The next field; `None` at the end.
fn next_field<'m>(walk: &mut &'m [u8]) -> Result<Option<Field<'m>>, DecodeError> {
    if walk.is_empty() {
        return Ok(None);
    }
    let (tag, wire_type) = decode_key(walk)?;
    if wire_type != WireType::LengthDelimited {
        skip_field(wire_type, tag, walk, DecodeContext::default())?;
        return Ok(Some((tag, None)));
    }
    let begin = *walk;
    let len = decode_varint(walk)?;
    let split = usize::try_from(len).ok().and_then(|len| walk.split_at_checked(len));
    let Some((value, rest)) = split else {
        // Which fails, and says how.
        *walk = begin;
        skip_field(wire_type, tag, walk, DecodeContext::default())?;
        return Ok(None);
    };
    *walk = rest;
    Ok(Some((tag, Some(value))))
}

#[cfg(test)]
mod tests {
    use millpond_proto::reapi::{Directory, FileNode};

    use super::*;

    fn directory(files: usize) -> Directory {
        let file = |number| FileNode { name: format!("file {number:06}"), ..FileNode::default() };
        Directory { files: (0..files).map(file).collect(), ..Directory::default() }
    }

    fn bad(why: &dyn std::fmt::Display) -> Error {
        Error::Invalid(why.to_string())
    }

    fn names_of(content: Bytes) -> Result<(Vec<String>, usize)> {
        let (mut names, mut most) = (Vec::new(), 0);
        let take = |directory: &mut Directory| {
            most = most.max(directory.files.len());
            names.extend(directory.files.drain(..).map(|node| node.name));
            Ok(())
        };
        read(content, take, bad)?;
        Ok((names, most))
    }

    #[test]
    fn pieces_hold_what_the_whole_holds() {
        for files in [0, 1, 4000, 20_000] {
            let whole = directory(files);
            let (names, most) = names_of(whole.encode_to_vec().into()).unwrap();
            assert_eq!(names, whole.files.into_iter().map(|node| node.name).collect::<Vec<_>>());
            assert!(most <= PIECE_BYTES / 15, "{most}");
        }
    }

    #[test]
    fn two_bytes_a_field_are_never_decoded_all_at_once() {
        let content = Bytes::from([0x0a, 0].repeat(PIECE_BYTES));
        let (names, most) = names_of(content).unwrap();
        assert_eq!((names.len(), most), (PIECE_BYTES, PIECE_BYTES / 2));
    }

    #[test]
    fn field_that_grows_is_refused_and_one_that_ends_early_too() {
        let properties = [0x0a, 0].repeat(FIELD_BYTES_MAX);
        let mut content = vec![0x2a];
        prost::encoding::encode_varint(properties.len() as u64, &mut content);
        content.extend(properties);
        let refused = names_of(content.clone().into()).unwrap_err().to_string();
        assert!(refused.contains("its field 5 has 524288 bytes"), "{refused}");
        content.truncate(PIECE_BYTES + 10);
        assert!(names_of(content.into()).is_err());
    }

    #[test]
    fn values_of_fields_are_told_without_numbers() {
        let content = Bytes::from_static(&[0x0a, 2, b'h', b'i', 0x10, 5, 0x1a, 0]);
        let found: Vec<_> = fields(content).map(|field| field.unwrap()).collect();
        assert_eq!(found, [(1, Bytes::from_static(b"hi")), (3, Bytes::new())]);
        let cut = fields(Bytes::from_static(&[0x0a, 9, b'h'])).collect::<Vec<_>>();
        assert!(matches!(*cut, [Err(_)]));
    }
}
