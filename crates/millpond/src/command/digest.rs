//! Digests on the command line.

pub(super) use millpond_cache::Digest;

/// Reads a digest as it is listed, `HASH/SIZE`.
pub(super) fn parse(text: &str) -> Result<Digest, String> {
    let parts = text.split_once('/').and_then(|(hash, size)| Some((hash, size.parse().ok()?)));
    parts.and_then(|(hash, size)| Digest::parse(hash, size).ok()).ok_or_else(|| {
        "no digest: write HASH/SIZE, 64 lower-case hexadecimal digits and a number of bytes".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written_and_nothing_else_is() {
        let digest = Digest::of(b"pond");
        assert_eq!(parse(&digest.to_string()), Ok(digest));
        for text in ["zzz", "", "/", "ab/3", &digest.to_string()[1..], &format!("{digest}x")] {
            assert!(parse(text).unwrap_err().contains("HASH/SIZE"), "{text}");
        }
    }
}
