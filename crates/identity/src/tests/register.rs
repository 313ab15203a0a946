use std::thread;

use super::*;
use crate::{Error, Identities, Register, revoke_certificates, revoke_tokens};

#[test]
fn many_writers_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(&folder.path().join("keys"));
    thread::scope(|scope| {
        for writer in 0..8 {
            let keys = &keys;
            scope.spawn(move || {
                for number in 0..10 {
                    issue::token(keys, &format!("w{writer}-{number}"), pull(), None, NOW).unwrap();
                }
            });
        }
    });
    assert_eq!(Register::load(&keys).unwrap().tokens.len(), 80);
}

#[test]
fn register_comes_back_as_it_was_written_and_keeps_no_secret() {
    let (_folder, keys) = pond();
    let mut grant = push();
    grant.names = vec![millpond_cache::Pattern::new("artifact:team/*").unwrap()];
    let certificate = issue::client(&keys, "ci", grant.clone(), 10, NOW).unwrap();
    let (token, entry) = issue::token(&keys, "ci", grant, Some(3), NOW).unwrap();
    let register = Register::load(&keys).unwrap();
    assert_eq!((register.certificates, register.tokens), (vec![certificate], vec![entry]));
    let text = fs::read_to_string(keys.register()).unwrap();
    assert!(text.contains("artifact:team/*") && !text.contains(&token[12..]), "{text}");
}

#[test]
fn malformed_registers_are_told_with_path_and_reason() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(folder.path());
    issue::token(&keys, "ci", pull(), None, NOW).unwrap();
    let whole = fs::read_to_string(keys.register()).unwrap();
    let entry = &whole[whole.find("    {").unwrap()..=whole.rfind("    }").unwrap() + 4];
    let sha256 = whole.split('"').find(|part| part.len() == 64).unwrap();
    for (content, reason) in [
        (String::new(), "EOF"),
        (whole[..whole.len() / 2].to_owned(), "line"),
        ("{}".to_owned(), "missing field `format`"),
        (whole.replace("\"tokens\"", "\"tockens\""), "unknown field `tockens`"),
        (whole.replace("\"expires\"", "\"until\""), "unknown field `until`"),
        (whole.replace("\"pull\"", "\"pul\""), "unknown variant `pul`"),
        (whole.replace("\"names\": []", "\"names\": [\"\"]"), "is no pattern"),
        (whole.replace(sha256, "abc"), "64 digits"),
        (whole.replace(entry, &format!("{entry},{entry}")), "is there twice"),
        (whole.replace("\"format\": 1", "\"format\": 0"), "no format 0"),
    ] {
        fs::write(keys.register(), &content).unwrap();
        let error = Identities::load(keys.folder()).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("identities.json: ") && told.contains(reason), "{reason}: {told}");
        // And nothing is written over it.
        assert!(issue::token(&keys, "other", pull(), None, NOW).is_err());
        assert_eq!(fs::read_to_string(keys.register()).unwrap(), content);
    }
}

#[test]
fn newer_format_is_told_whatever_else_it_holds() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(folder.path());
    fs::write(keys.register(), r#"{"format": 2, "people": []}"#).unwrap();
    let error = Identities::load(keys.folder()).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("has format 2"), "{error}");
}

#[test]
fn name_is_free_again_once_it_is_revoked() {
    let (_folder, keys) = pond();
    issue::client(&keys, "ci", pull(), 10, NOW).unwrap();
    issue::token(&keys, "ci", pull(), None, NOW).unwrap();
    for refused in [
        issue::client(&keys, "ci", pull(), 10, NOW).map(|_| ()),
        issue::token(&keys, "ci", pull(), None, NOW).map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert!(
            error.to_string().starts_with("ci has a ") && error.remedy().contains("revoke ci"),
            "{error}"
        );
    }
    revoke_certificates(&keys, "ci", NOW).unwrap();
    revoke_tokens(&keys, "ci", NOW).unwrap();
    issue::client(&keys, "ci", pull(), 10, NOW).unwrap();
    issue::token(&keys, "ci", pull(), None, NOW).unwrap();
}

#[test]
fn only_what_is_there_and_not_revoked_is_revoked_or_renewed() {
    let (_folder, keys) = pond();
    let (_, token) = issue::token(&keys, "ci", pull(), None, NOW).unwrap();
    assert!(revoke_certificates(&keys, "ci", NOW).unwrap_err().to_string().contains("no certificate of ci"));
    assert!(revoke_tokens(&keys, "0000000g", NOW).unwrap_err().to_string().contains("no token of 0000000g"));
    assert_eq!(revoke_tokens(&keys, &token.id, NOW + 1).unwrap(), 1);
    assert!(revoke_tokens(&keys, &token.id, NOW + 2).unwrap_err().to_string().contains("revoked already"));
    assert_eq!(Register::load(&keys).unwrap().tokens[0].revoked, Some(NOW + 1));

    issue::client(&keys, "ci", pull(), 10, NOW).unwrap();
    revoke_certificates(&keys, "ci", NOW).unwrap();
    for name in ["ci", "other"] {
        let error = issue::renew_client(&keys, name, 10, false, NOW).unwrap_err();
        assert!(error.to_string().contains("no certificate that could be renewed"), "{error}");
    }
}
