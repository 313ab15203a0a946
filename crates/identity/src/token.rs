//! Tokens: `mp_ID_SECRET`. The ID finds the entry, the hash of the secret proves the holder.

use aws_lc_rs::rand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::{Error, Fingerprint};

/// What all tokens begin with, so that they are found where they should not be.
const PREFIX: &str = "mp_";
/// Random bytes behind an ID.
const ID_BYTES: usize = 4;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Characters of a secret.
const SECRET_LENGTH: usize = 43;

/// Whether this has the form of a token of ours, good or not; else it may be one of somebody else.
pub fn is_token(presented: &str) -> bool {
    presented.starts_with(PREFIX)
}

/// A token taken apart.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// What finds it.
    pub(crate) id: &'a str,
    /// Of its secret.
    pub(crate) sha256: Fingerprint,
}

/// Takes a token apart; `None` if it is none.
pub(crate) fn parts(presented: &str) -> Option<Parts<'_>> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    let whole = is_id(id) && secret.len() == SECRET_LENGTH;
    whole.then(|| Parts { id, sha256: Fingerprint::of(secret.as_bytes()) })
}

/// Whether this has the form of an ID.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A new token.
pub(crate) fn make() -> Result<String, Error> {
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    for bytes in [id.as_mut_slice(), &mut secret] {
        rand::fill(bytes).map_err(|_| Error::Making("the system gives no random bytes".into()))?;
    }
    Ok(format!("{PREFIX}{}_{}", HEXLOWER.encode(&id), BASE64URL_NOPAD.encode(&secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_has_its_form_and_is_never_the_same() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_ne!(one, other);
        assert!(is_token(&one) && one.len() == 3 + 8 + 1 + 43, "{one}");
        let parts = parts(&one).unwrap();
        assert_eq!(parts.id, &one[3..11]);
        assert!(parts.sha256.is_same(&Fingerprint::of(&one.as_bytes()[12..])));
    }

    #[test]
    fn what_has_another_form_is_no_token() {
        let whole = make().unwrap();
        let cut = &whole[..whole.len() - 1];
        let longer = format!("{whole}\n");
        for text in ["", "mp_", "mp__", "mp_0123456_", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", cut, &longer] {
            assert!(parts(text).is_none(), "{text}");
        }
        assert!(!is_token("eyJhbGciOiJSUzI1NiJ9.e30.c2ln"));
    }
}
