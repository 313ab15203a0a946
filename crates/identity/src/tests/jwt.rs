use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use millpond_cache::Pattern;
use serde_json::{Value, json};

use super::*;
use crate::jwt::{Algorithm, ClaimGrant, Issuer, Issuers, KeySet, NotKnown, Refusal, keys_location};
use crate::{Identities, recall};

const URL: &str = "https://gitlab.example.org";
const GRACE: u64 = 3600;

/// A key of an issuer.
struct Key(EncodingKey);

impl Key {
    fn new() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::rand::SystemRandom::new(),
        );
        Self(EncodingKey::from_ec_der(document.unwrap().as_ref()))
    }

    fn public(&self, others: &Value) -> Value {
        let jwk = Jwk::from_encoding_key(&self.0, jsonwebtoken::Algorithm::ES256).unwrap();
        with(serde_json::to_value(jwk).unwrap(), others)
    }

    fn sign(&self, id: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: id.map(Into::into), ..Header::new(jsonwebtoken::Algorithm::ES256) };
        encode(&header, claims, &self.0).unwrap()
    }
}

fn with(mut object: Value, others: &Value) -> Value {
    for (name, value) in others.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

fn claims(others: &Value) -> Value {
    let usual =
        json!({ "iss": URL, "aud": "cache", "sub": "s", "iat": NOW, "exp": NOW + 300, "team": "a", "n": 7 });
    with(usual, others)
}

fn issuers(keys: &[Value], grants: Vec<ClaimGrant>) -> Issuers {
    let issuer = Issuer {
        name: "gitlab".into(),
        url: URL.into(),
        audiences: vec!["cache".into()],
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        grace: GRACE,
        grants,
    };
    let issuers = Issuers::new(vec![issuer]);
    issuers.replace_keys(0, KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap());
    issuers
}

fn grant(claims: &[(&str, &str)], grant: Grant) -> ClaimGrant {
    let claim = |(name, pattern): &(&str, &str)| ((*name).to_owned(), vec![Pattern::new(*pattern).unwrap()]);
    ClaimGrant { claims: claims.iter().map(claim).collect(), grant }
}

fn refused(issuers: &Issuers, token: &str, now: u64) -> Refusal {
    match issuers.token(token, &Identities::default(), now) {
        Err(NotKnown::Refused(refusal) | NotKnown::WantsKeys { refusal, .. }) => refusal,
        Ok(identity) => panic!("{identity:?}"),
    }
}

#[test]
fn token_holds_from_a_minute_before_its_time_to_its_grace_if_it_was_shown() {
    let (key, nobody) = (Key::new(), Identities::default());
    let all = ClaimGrant { claims: vec![("sub".into(), vec![Pattern::new("*").unwrap()])], grant: pull() };
    let issuers = issuers(&[key.public(&json!({}))], vec![all]);
    let token = key.sign(None, &claims(&json!({ "nbf": NOW })));
    assert_eq!(refused(&issuers, &token, NOW - 61), Refusal::NotYetValid);
    let late = NOW + 300 + 60;
    assert_eq!(refused(&issuers, &token, late + 1), Refusal::Expired { since: NOW + 300 });
    issuers.token(&token, &nobody, NOW - 60).unwrap();
    issuers.token(&token, &nobody, NOW + 300 + GRACE).unwrap();
    assert_eq!(
        refused(&issuers, &token, NOW + 300 + GRACE + 1),
        Refusal::ExpiredForGood { since: NOW + 300, name: "gitlab:s".into() }
    );
    issuers.token(&key.sign(None, &claims(&json!({ "n": 8 }))), &nobody, late).unwrap();
}

#[test]
fn every_grant_that_matches_counts_and_what_others_want_is_told() {
    let key = Key::new();
    let grants = vec![
        grant(&[("team", "a")], pull()),
        grant(&[("n", "7"), ("ok", "true")], push()),
        grant(&[("groups", "x*")], push()),
        grant(&[("team", "b"), ("deep", "*")], push()),
    ];
    let issuers = issuers(&[key.public(&json!({}))], grants);
    let of = |others: Value| {
        let token = key.sign(None, &claims(&others));
        issuers.token(&token, &Identities::default(), NOW).unwrap()
    };
    let one = of(json!({}));
    assert_eq!((one.name.as_str(), &one.grants), ("gitlab:s", &vec![pull()]));
    let lacks = one.lacks.clone().unwrap();
    assert_eq!(
        lacks,
        "a grant for more wants a token with other claims: deep (it has none), groups (it has none), ok (it has none), \
         team (it has a)"
    );
    assert_eq!(of(json!({ "ok": true, "groups": ["y", "xa"] })).grants, [pull(), push(), push()]);
    let none = of(json!({ "team": { "a": 1 }, "deep": null, "groups": [["xa"]] }));
    assert!(
        none.grants.is_empty() && none.lacks.as_ref().unwrap().starts_with("every grant wants"),
        "{none:?}"
    );
}

#[test]
fn key_must_be_for_what_it_is_used_for() {
    let (key, other) = (Key::new(), Key::new());
    let token = key.sign(Some("a"), &claims(&json!({})));
    for unfit in [
        json!({ "use": "enc" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "ES384" }),
        json!({ "key_ops": ["sign"] }),
    ] {
        let issuers = issuers(&[with(key.public(&json!({ "kid": "a" })), &unfit)], vec![]);
        assert_eq!(refused(&issuers, &token, NOW), Refusal::UnfitKey, "{unfit}");
    }
    let named = |key: &Key, id: &str| key.public(&json!({ "kid": id, "use": "sig", "alg": "ES256" }));
    let both = issuers(&[named(&key, "a"), named(&other, "b")], vec![]);
    both.token(&token, &Identities::default(), NOW).unwrap();
    assert_eq!(refused(&both, &key.sign(Some("b"), &claims(&json!({}))), NOW), Refusal::Signature);
    let unknown = key.sign(Some("c"), &claims(&json!({})));
    assert_eq!(refused(&both, &unknown, NOW), Refusal::UnknownKey { issuer: "gitlab".into() });
    // Which of two it would be is a matter of chance.
    assert_eq!(refused(&both, &key.sign(None, &claims(&json!({}))), NOW), Refusal::UnfitKey);
    let twice = issuers(&[named(&key, "a"), named(&other, "a")], vec![]);
    assert_eq!(refused(&twice, &token, NOW), Refusal::UnfitKey);
}

#[test]
fn sets_of_keys_are_bounded_and_shared_secrets_are_none() {
    let key = Key::new();
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256" });
    let read = |keys: Vec<Value>| KeySet::read(json!({ "keys": keys }).to_string().as_bytes());
    assert!(read(vec![secret.clone()]).is_err() && read(vec![]).is_err());
    let odd = json!({ "kty": "AKP", "pub": 7 });
    assert_eq!(read(vec![secret, odd, json!(7), key.public(&json!({}))]).unwrap().count(), 1);
    assert!(read(vec![key.public(&json!({})); 101]).unwrap_err().contains("101 keys"));
    for text in ["", "[]", "{}", "{\"keys\": 7}"] {
        assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn revoked_is_what_is_from_before_and_has_such_a_name() {
    let (_folder, keys) = pond();
    let key = Key::new();
    let issuers = issuers(&[key.public(&json!({}))], vec![]);
    let token = |iat: Value| key.sign(None, &claims(&json!({ "iat": iat, "exp": NOW + 9000 })));
    recall(&keys, "gitlab:s*", NOW).unwrap();
    recall(&keys, "gitlab:other", NOW).unwrap();
    let identities = Identities::load(keys.folder()).unwrap();
    let known = |token: &str| issuers.token(token, &identities, NOW + 600).map(|_| ());
    let revoked = NotKnown::from(Refusal::Revoked { name: "gitlab:s".into() });
    assert_eq!(known(&token(json!(NOW + 60))), Err(revoked.clone()));
    assert_eq!(known(&token(json!(NOW + 61))), Ok(()));
    let undated = claims(&json!({}));
    let mut undated = undated.as_object().unwrap().clone();
    undated.remove("iat");
    undated["exp"] = json!(NOW + 9000);
    assert_eq!(known(&key.sign(None, &undated.into())), Err(revoked.clone()));
    // Revoked again, the later time counts.
    recall(&keys, "gitlab:s*", NOW + 300).unwrap();
    let identities = Identities::load(keys.folder()).unwrap();
    let again = issuers.token(&token(json!(NOW + 61)), &identities, NOW + 600);
    assert_eq!(again.map(|_| ()), Err(revoked.clone()));
}

#[test]
fn words_of_an_issuer_are_its_own() {
    let document = |issuer: &str| json!({ "issuer": issuer, "jwks_uri": "https://keys" }).to_string();
    assert_eq!(keys_location(URL, document(URL).as_bytes()).unwrap(), "https://keys");
    for document in
        [document("https://gitlab.example.org/"), document("https://other"), "{}".into(), String::new()]
    {
        assert!(keys_location(URL, document.as_bytes()).is_err(), "{document}");
    }
}
