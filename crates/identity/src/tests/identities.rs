use super::*;
use crate::{Credential, Expiring, Identities, Refused, revoke_certificates, revoke_tokens};

#[test]
fn certificate_and_token_name_their_holder_and_what_it_may_do() {
    let (_folder, keys) = pond();
    issue::client(&keys, "ci", push(), 10, NOW).unwrap();
    let (token, _) = issue::token(&keys, "reader", pull(), None, NOW).unwrap();
    let known = Identities::load(keys.folder()).unwrap();

    let ci = known.certificate(&[&certificate_of(&keys, "ci")], NOW).unwrap();
    assert_eq!((ci.name.as_str(), &ci.grants), ("ci", &vec![push()]));
    let reader = known.token(&token, NOW + 10_000 * DAY).unwrap();
    assert_eq!((reader.name.as_str(), &reader.grants), ("reader", &vec![pull()]));
}

#[test]
fn nobody_is_known_where_nothing_was_issued() {
    let folder = TempDir::new().unwrap();
    let known = Identities::load(&folder.path().join("nowhere")).unwrap();
    assert_eq!(known.certificate(&[b"anything"], NOW).unwrap_err().why, Refused::Unknown);
    let token = crate::token::make().unwrap();
    assert_eq!(known.token(&token, NOW).unwrap_err().why, Refused::Unknown);
}

#[test]
fn what_is_expired_or_revoked_says_so() {
    let (_folder, keys) = pond();
    for name in ["short", "gone"] {
        issue::client(&keys, name, push(), 10, NOW).unwrap();
    }
    let (short, _) = issue::token(&keys, "short", push(), Some(10), NOW).unwrap();
    let (gone, _) = issue::token(&keys, "gone", push(), Some(10), NOW).unwrap();
    revoke_certificates(&keys, "gone", NOW).unwrap();
    revoke_tokens(&keys, "gone", NOW).unwrap();

    let known = Identities::load(keys.folder()).unwrap();
    let end = NOW + 10 * DAY;
    let certificate = |name, now| {
        known.certificate(&[&certificate_of(&keys, name)], now).map(|_| ()).map_err(|declined| declined.why)
    };
    let token = |token, now| known.token(token, now).map(|_| ()).map_err(|declined| declined.why);
    for look_up in [certificate("short", end), token(&short, end)] {
        assert_eq!(look_up, Ok(()));
    }
    for look_up in [certificate("short", end + 1), token(&short, end + 1)] {
        assert_eq!(look_up, Err(Refused::Expired { since: end }));
    }
    for look_up in [certificate("gone", NOW), token(&gone, NOW)] {
        assert_eq!(look_up, Err(Refused::Revoked));
    }
}

#[test]
fn token_with_one_character_changed_is_unknown_or_none() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(folder.path());
    let (token, _) = issue::token(&keys, "ci", push(), None, NOW).unwrap();
    let known = Identities::load(keys.folder()).unwrap();
    for place in 0..token.len() {
        let other = if &token[place..=place] == "a" { "b" } else { "a" };
        let mut changed = token.clone();
        changed.replace_range(place..=place, other);
        let refused = known.token(&changed, NOW).unwrap_err();
        assert!(matches!(refused.why, Refused::Unknown | Refused::Malformed), "{place}: {refused:?}");
        assert!(!refused.to_string().contains(&changed[3..]), "{refused}");
    }
    for malformed in ["", "mp_", "mp_00000000_short", &format!("{token} ")] {
        assert_eq!(known.token(malformed, NOW).unwrap_err().why, Refused::Malformed);
    }
}

#[test]
fn certificate_of_the_same_ca_that_is_not_registered_is_unknown() {
    let (_folder, keys) = pond();
    issue::client(&keys, "ci", push(), 10, NOW).unwrap();
    let der = certificate_of(&keys, "ci");
    fs::remove_file(keys.register()).unwrap();
    let known = Identities::load(keys.folder()).unwrap();
    assert_eq!(known.certificate(&[&der], NOW).unwrap_err().why, Refused::Unknown);
}

#[test]
fn old_certificate_holds_beside_the_new_one_unless_revoked() {
    let (_folder, keys) = pond();
    issue::client(&keys, "ci", push(), 10, NOW).unwrap();
    let first = certificate_of(&keys, "ci");
    issue::renew_client(&keys, "ci", 20, false, NOW + DAY).unwrap();
    let second = certificate_of(&keys, "ci");
    let known = Identities::load(keys.folder()).unwrap();
    for der in [&first, &second] {
        assert_eq!(known.certificate(&[der], NOW + DAY).unwrap().grants, [push()]);
    }

    issue::renew_client(&keys, "ci", 30, true, NOW + DAY).unwrap();
    let known = Identities::load(keys.folder()).unwrap();
    for der in [&first, &second] {
        assert_eq!(known.certificate(&[der], NOW + DAY).unwrap_err().why, Refused::Revoked);
    }
    assert_eq!(known.certificate(&[&certificate_of(&keys, "ci")], NOW + DAY).unwrap().grants, [push()]);
}

#[test]
fn what_expires_soon_is_told_unless_it_was_renewed() {
    let (_folder, keys) = pond();
    for (name, days) in [("late", 90), ("soon", 10), ("renewed", 10), ("revoked", 10)] {
        issue::client(&keys, name, push(), days, NOW).unwrap();
    }
    issue::renew_client(&keys, "renewed", 90, false, NOW).unwrap();
    revoke_certificates(&keys, "revoked", NOW).unwrap();
    issue::token(&keys, "renewed", pull(), Some(5), NOW).unwrap();
    issue::token(&keys, "for-ever", pull(), None, NOW).unwrap();

    let known = Identities::load(keys.folder()).unwrap();
    let expiring = |name: &str, what, days| Expiring { name: name.into(), what, not_after: NOW + days * DAY };
    let token = expiring("renewed", Credential::Token, 5);
    let certificate = expiring("soon", Credential::Certificate, 10);
    assert_eq!(known.expiring(30 * DAY, NOW), [token, certificate]);
    assert_eq!(known.expiring(DAY, NOW), []);
    assert_eq!(known.expiring(30 * DAY, NOW + 20 * DAY), []);
}
