//! As whom the holder of a token acts: the issuer's short name and the token's subject, as in
//! `gitlab:project_path:group/project:ref_type:branch:ref:main`.

/// The longest subject that is taken, in bytes. OpenID Connect allows 255.
const SUBJECT_MAX: usize = 512;
/// Characters of an issuer's short name.
const ISSUER_MAX: usize = 32;
/// What the names of users of this machine begin with, who administer the server: no issuer makes them.
const LOCAL: &str = "local";

/// The name of this subject of that issuer, if it can have one. Two subjects never have the same: what could be taken for
/// something else is written as `%` and two digits. The issuer's name has no colon, and names that are issued here have none
/// at all, so that nobody can be taken for somebody of another origin.
pub(super) fn of(issuer: &str, subject: &str) -> Option<String> {
    if subject.is_empty() || subject.len() > SUBJECT_MAX {
        return None;
    }
    let mut name = format!("{issuer}:");
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/@+=,".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(name)
}

/// Whether an issuer may have this short name.
pub(super) fn is_issuer(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= ISSUER_MAX && name != LOCAL && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_keep_what_cannot_be_mistaken_and_are_never_the_same() {
        let gitlab = "project_path:group/project:ref_type:branch:ref:main";
        assert_eq!(of("gitlab", gitlab).unwrap(), format!("gitlab:{gitlab}"));
        assert_eq!(of("a", "x y\n*%ü").unwrap(), "a:x%20y%0A%2A%25%C3%BC");
        assert_ne!(of("a", "x y"), of("a", "x%20y"));
        assert_eq!(of("a", ""), None);
        assert_eq!(of("a", &"x".repeat(SUBJECT_MAX + 1)), None);
    }

    #[test]
    fn issuers_have_no_colon() {
        assert!(is_issuer("gitlab-2") && !is_issuer("") && !is_issuer("a:b") && !is_issuer("GitLab"));
        assert!(!is_issuer("local"));
        assert!(!is_issuer(&"x".repeat(ISSUER_MAX + 1)));
    }
}
