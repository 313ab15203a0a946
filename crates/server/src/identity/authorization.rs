//! The header `authorization`: `Bearer TOKEN` as BuildStream and Bazel send it (RFC 6750), or `Basic` with the token as
//! the password (RFC 7617), which is all that clients with a `.netrc` or a user and password in their URL can send.

use data_encoding::BASE64;
use http::HeaderMap;
use http::header::AUTHORIZATION;

const MALFORMED: &str = "the authorization header is none that is taken here: send `Bearer` and the token, or `Basic` with the token as password";
const EMPTY: &str =
    "the access token is empty: the file that `access-token` names has to hold the token that was issued";

/// The token that the headers hold, if they hold a credential at all.
///
/// # Errors
/// Something else than a token, with a sentence for the client.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Two that differ would be a matter of taste.
    if values.next().is_some() {
        return Err(MALFORMED);
    }
    let text = value.to_str().map_err(|_| MALFORMED)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        password(rest).ok_or(MALFORMED)?
    } else {
        return Err(MALFORMED);
    };
    if token.is_empty() { Err(EMPTY) } else { Ok(Some(token)) }
}

fn password(encoded: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok()?;
    let (_user, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn found(values: &[&str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        token(&headers)
    }

    #[test]
    fn token_is_taken_from_both_schemes() {
        assert_eq!(token(&headers(&[])), Ok(None));
        assert_eq!(found(&["Bearer mp_1_2"]), Ok(Some("mp_1_2".into())));
        assert_eq!(found(&["bearer  x"]), Ok(Some(" x".into())));
        assert_eq!(found(&["Basic dXNlcjptcF8xOjI="]), Ok(Some("mp_1:2".into())));
    }

    #[test]
    fn anything_else_is_refused_and_not_taken_for_nobody() {
        for values in [
            &[""][..],
            &["Bearer"],
            &["Bearer "],
            &["Digest x"],
            &["Basic x"],
            &["Basic dXNlcg=="],
            &["Basic dXNlcjo="],
        ] {
            assert!(found(values).is_err(), "{values:?}");
        }
        assert!(found(&["Bearer a", "Bearer b"]).is_err());
    }
}
