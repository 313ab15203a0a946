//! ByteStream resource names: which blob of which instance a stream is about.
//!
//! ```text
//! read   [INSTANCE/]blobs/HASH/SIZE[/anything]
//! write  [INSTANCE/]uploads/ID/blobs/HASH/SIZE[/anything]
//! both   HASH/SIZE                                  BuildStream 1.1, which knew no better
//! ```
//!
//! The instance may have slashes of its own. The ID is ignored: BuildStream 1 and buildbox-casd use one for all uploads
//! of a process, identical names at the same time included. Whether the instance exists is not known here.

use millpond_cache::{Digest, DigestError, Error};

/// More than any instance name, ID and digest need.
const NAME_BYTES_MAX: usize = 4096;

/// What a resource name says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BlobName<'a> {
    /// As the client wrote it, empty if it wrote none.
    pub(crate) instance: &'a str,
    pub(crate) digest: Digest,
}

/// Why a resource name is none. What is printed goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the resource name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("this is no resource name to read from; write [INSTANCE/]blobs/HASH/SIZE")]
    Read,
    #[error("this is no resource name to write to; write [INSTANCE/]uploads/UUID/blobs/HASH/SIZE")]
    Write,
    #[error("compressed blobs are not served here; use blobs/ instead of compressed-blobs/")]
    Compressed,
    #[error("the digest in the resource name is malformed: {0}")]
    Digest(#[from] DigestError),
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// The blob that a `ReadRequest` asks for.
pub(crate) fn parse_read(name: &str) -> Result<BlobName<'_>, NameError> {
    let (instance, keyword, rest) = split(name, NameError::Read)?;
    match keyword {
        Some("blobs") => Ok(BlobName { instance, digest: digest(rest, NameError::Read)? }),
        Some("compressed-blobs") => Err(NameError::Compressed),
        Some(_) => Err(NameError::Read),
        None => bare(name, NameError::Read),
    }
}

/// The blob that a `WriteRequest` or a `QueryWriteStatusRequest` is about.
pub(crate) fn parse_write(name: &str) -> Result<BlobName<'_>, NameError> {
    let (instance, keyword, rest) = split(name, NameError::Write)?;
    match keyword {
        Some("uploads") => {}
        Some("compressed-blobs") => return Err(NameError::Compressed),
        Some(_) => return Err(NameError::Write),
        None => return bare(name, NameError::Write),
    }
    let (id, rest) = rest.split_once('/').ok_or(NameError::Write)?;
    match rest.split_once('/') {
        Some(("blobs", rest)) if !id.is_empty() => {
            Ok(BlobName { instance, digest: digest(rest, NameError::Write)? })
        }
        Some(("compressed-blobs", _)) => Err(NameError::Compressed),
        _ => Err(NameError::Write),
    }
}

/// Cuts a name at its first keyword, which no instance name may contain as a segment.
fn split(name: &str, otherwise: NameError) -> Result<(&str, Option<&str>, &str), NameError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if name.chars().any(char::is_control) {
        return Err(otherwise);
    }
    let mut start = 0;
    for segment in name.split('/') {
        let end = start + segment.len();
        if let "blobs" | "uploads" | "compressed-blobs" = segment {
            let instance = name.get(..start.saturating_sub(1)).unwrap_or_default();
            return Ok((instance, Some(segment), name.get(end + 1..).unwrap_or_default()));
        }
        if let "" | "." | ".." = segment {
            return Err(otherwise);
        }
        start = end + 1;
    }
    Ok(("", None, name))
}

/// `HASH/SIZE`, and whatever a client adds for people to read.
fn digest(text: &str, otherwise: NameError) -> Result<Digest, NameError> {
    let mut segments = text.split('/');
    let (Some(hash), Some(size)) = (segments.next(), segments.next()) else {
        return Err(otherwise);
    };
    Ok(Digest::parse(hash, parse_size(size)?)?)
}

/// `HASH/SIZE` and nothing else.
fn bare(name: &str, otherwise: NameError) -> Result<BlobName<'_>, NameError> {
    match name.split_once('/') {
        Some((hash, size)) if hash.len() == 64 && !size.contains('/') => {
            Ok(BlobName { instance: "", digest: Digest::parse(hash, parse_size(size)?)? })
        }
        _ => Err(otherwise),
    }
}

/// Digits only, in their one spelling: `+5`, `05` and ` 5` would be other names of the same blob.
fn parse_size(text: &str) -> Result<i64, DigestError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical).ok_or(DigestError::Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn read(name: &str) -> Result<(String, u64), NameError> {
        parse_read(&name.replace('H', HASH)).map(|blob| (blob.instance.to_owned(), blob.digest.size()))
    }

    fn write(name: &str) -> Result<(String, u64), NameError> {
        parse_write(&name.replace('H', HASH)).map(|blob| (blob.instance.to_owned(), blob.digest.size()))
    }

    #[test]
    fn names_of_all_clients_are_read() {
        for (name, instance) in [
            ("blobs/H/4", ""),
            ("main/blobs/H/4", "main"),
            ("a/b/c/blobs/H/4", "a/b/c"),
            ("blobs/H/4/some/file.txt", ""),
            ("H/4", ""),
        ] {
            assert_eq!(read(name), Ok((instance.to_owned(), 4)), "{name}");
        }
        for (name, instance) in [
            ("uploads/0b3f/blobs/H/4", ""),
            ("main/uploads/not-a-uuid/blobs/H/4", "main"),
            ("a/b/uploads/0b3f/blobs/H/4/x/..", "a/b"),
            ("H/4", ""),
        ] {
            assert_eq!(write(name), Ok((instance.to_owned(), 4)), "{name}");
        }
    }

    #[test]
    fn reading_refuses_what_is_no_name_of_a_blob() {
        for name in [
            "",
            "/",
            "blobs",
            "blobs/H",
            "/blobs/H/4",
            "//blobs/H/4",
            "../blobs/H/4",
            "a/./blobs/H/4",
            "a\0b/blobs/H/4",
            "uploads/0b3f/blobs/H/4",
            "H/4/x",
            "../../etc/passwd",
            "nonsense",
        ] {
            assert_eq!(read(name), Err(NameError::Read), "{name:?}");
        }
        assert_eq!(read(&"a/".repeat(4000)), Err(NameError::TooLong));
    }

    #[test]
    fn writing_refuses_what_is_no_upload() {
        for name in
            ["", "blobs/H/4", "uploads/blobs/H/4", "uploads//blobs/H/4", "uploads/0b3f/H/4", "uploads/0b3f"]
        {
            assert_eq!(write(name), Err(NameError::Write), "{name:?}");
        }
    }

    #[test]
    fn malformed_digests_are_told_apart() {
        let sizes =
            ["", "-1", "+4", "04", " 4", "4 ", "0x4", "9223372036854775808", "99999999999999999999999999"];
        for size in sizes {
            assert_eq!(read(&format!("blobs/H/{size}")), Err(DigestError::Size.into()), "{size}");
            assert_eq!(write(&format!("uploads/u/blobs/H/{size}")), Err(DigestError::Size.into()), "{size}");
        }
        assert_eq!(read("blobs/H/9223372036854775807"), Ok((String::new(), i64::MAX as u64)));
        for hash in ["abc", "..", &HASH.to_uppercase(), &format!("{HASH}0")] {
            assert_eq!(read(&format!("blobs/{hash}/4")), Err(DigestError::Hash.into()), "{hash}");
        }
    }

    #[test]
    fn compressed_blobs_are_refused_with_a_reason() {
        assert_eq!(read("compressed-blobs/zstd/H/4"), Err(NameError::Compressed));
        assert_eq!(read("main/compressed-blobs/zstd/H/4"), Err(NameError::Compressed));
        assert_eq!(write("uploads/0b3f/compressed-blobs/zstd/H/4"), Err(NameError::Compressed));
    }
}
