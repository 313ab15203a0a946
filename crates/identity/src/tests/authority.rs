use super::authorized::self_signed;
use super::*;
use crate::{AuthorityTerms, Credential, Error, Expiring, Identities};

fn terms() -> AuthorityTerms {
    AuthorityTerms { name: "corp".into(), subjects: Vec::new(), grant: push() }
}

/// It would be too late when its clients are refused.
#[test]
fn own_certificate_of_an_authority_that_expires_is_told_ahead() {
    let (_, pem) = self_signed(Some("corp"));
    let mut known = Identities::default();
    known.add_authority(pem.as_bytes(), None, terms()).unwrap();
    let expected = Expiring { name: "corp".into(), what: Credential::Authority, not_after: NOW + 10 * DAY };
    assert_eq!(known.expiring(10 * DAY, NOW), [expected]);
    assert_eq!(known.expiring(9 * DAY, NOW), []);
    assert_eq!(known.expiring(10 * DAY, NOW + 11 * DAY), []);
}

#[test]
fn file_that_holds_no_list_is_refused_as_such() {
    let (_, pem) = self_signed(Some("corp"));
    for lists in [&b""[..], b"words", pem.as_bytes(), b"\x30\x00", b"-----BEGIN X509 CRL-----\n"] {
        let mut known = Identities::default();
        let refused = known.add_authority(pem.as_bytes(), Some(lists), terms()).unwrap_err();
        assert!(matches!(refused, Error::Lists(_)), "{refused}");
        assert_eq!(known.expiring(10 * DAY, NOW), []);
    }
}
