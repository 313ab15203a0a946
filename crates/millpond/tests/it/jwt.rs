//! JSON web tokens over the wire, with an issuer that runs: who is known, who is not and why, and what becomes of it when
//! keys change, when the issuer is away and when a token's time is over.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::{EncodingKey, Header, encode};
use millpond_proto::reapi::GetCapabilitiesRequest;
use millpond_proto::reapi::capabilities_client::CapabilitiesClient;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::issued::Keys;
use crate::issuer::{AUDIENCE, Issuer, Key, now};
use crate::server::Server;
use crate::tokens;

const GRANTS: &str = "[[issuer.grant]]\nclaims = { project_path = \"team/*\", ref_protected = true }\nallow = \"push\"\n\
                      [[issuer.grant]]\nclaims = { project_path = \"team/*\", job_id = 42 }\nallow = \"pull\"\n";

/// A server that takes the tokens of an issuer.
struct Pond {
    keys: Keys,
    server: Server,
    runtime: Runtime,
}

impl Pond {
    /// Where everybody may pull.
    fn new(issuer: &Issuer) -> Self {
        Self::with(issuer, "")
    }

    fn with(issuer: &Issuer, more: &str) -> Self {
        let keys = Keys::new();
        let path = keys.folder().join("millpond.toml");
        let text = format!(
            "[identity]\nkeys = \"keys\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = \"pull\"\n{}",
            issuer.configuration(more, GRANTS)
        );
        fs::write(&path, text).unwrap();
        let server = Server::start_where_configured(&["--config", path.to_str().unwrap()]);
        Self { keys, server, runtime: Runtime::new().unwrap() }
    }

    fn push(&self, token: &str) -> Result<(), Status> {
        tokens::push(&self.runtime, &self.server, Some(&format!("Bearer {token}")), b"something")
    }

    /// What everybody may do who shows no token that does not hold.
    fn look(&self, token: Option<&str>) -> Result<(), Status> {
        let mut request = Request::new(GetCapabilitiesRequest::default());
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let url = self.server.url().to_owned();
        self.runtime.block_on(async {
            let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
            CapabilitiesClient::new(channel).get_capabilities(request).await.map(drop)
        })
    }

    /// Refused at the first call, though anybody may pull, with these words, and without the token.
    fn assert_refused(&self, token: &str, words: &str) {
        for refused in [self.look(Some(token)), self.push(token)] {
            let status = refused.expect_err(words);
            assert_eq!(status.code(), Code::Unauthenticated, "{words}: {status}");
            assert!(status.message().contains(words), "{words}: {status}");
            let signature = token.rsplit('.').next().unwrap();
            assert!(signature.len() < 10 || !status.message().contains(signature), "{status}");
        }
    }

    /// Tries again until it holds, as long as a server has patience.
    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: {}", self.server.log());
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// These claims with others in their place; `null` takes one out.
fn but(mut claims: Value, others: Value) -> Value {
    for (name, value) in others.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[test]
fn claims_say_what_a_token_may_do_and_whose_it_is() {
    let (rsa, ecdsa) = (Key::rsa("r"), Key::ecdsa("e"));
    let issuer = Issuer::start(&[&rsa, &ecdsa]);
    let pond = Pond::new(&issuer);
    for key in [&rsa, &ecdsa] {
        pond.push(&key.sign(&issuer.claims())).unwrap();
        pond.push(&key.sign(&but(issuer.claims(), json!({ "aud": ["other", AUDIENCE] })))).unwrap();
    }

    let unprotected = rsa.sign(&but(issuer.claims(), json!({ "ref_protected": "false" })));
    pond.look(Some(&unprotected)).unwrap();
    let status = pond.push(&unprotected).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    for words in
        ["gitlab:project_path:team/app:ref_type:branch:ref:main may not push", "ref_protected (it has false)"]
    {
        assert!(status.message().contains(words), "{status}");
    }

    // Nothing matches: it may do what everybody may.
    let stranger =
        rsa.sign(&but(issuer.claims(), json!({ "project_path": "team-evil/x\n", "sub": "gitlab:a b" })));
    pond.look(Some(&stranger)).unwrap();
    let status = pond.push(&stranger).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    for words in ["gitlab:gitlab:a%20b may not push", "project_path (it has team-evil/x?)"] {
        assert!(status.message().contains(words), "{status}");
    }
    for token in [&unprotected, &stranger] {
        assert!(!pond.server.log().contains(token.as_str()), "a token is in the log");
    }
}

#[test]
fn tokens_that_do_not_hold_are_refused_with_the_reason_where_anybody_may_pull() {
    let (rsa, ecdsa, foreign) = (Key::rsa("r"), Key::ecdsa("e"), Key::rsa("r"));
    let issuer = Issuer::start(&[&rsa, &ecdsa]);
    let pond = Pond::new(&issuer);
    pond.look(None).unwrap();
    let claims = || issuer.claims();
    let signed = |others| rsa.sign(&but(claims(), others));
    let good = rsa.sign(&claims());
    pond.push(&good).unwrap();

    pond.assert_refused("", "empty");
    for damaged in ["x", "a.b", "a.b.c", ".", "..", "eyJhbGciOiJSUzI1NiJ9..", &good[1..], "\u{e9}"] {
        pond.assert_refused(damaged, "");
    }
    pond.assert_refused(&"x".repeat(9000), "9000 bytes");
    for (others, words) in [
        (json!({ "exp": now() - 100 }), "expired on"),
        (json!({ "exp": null }), "no exp"),
        (json!({ "exp": "tomorrow" }), "no exp"),
        (json!({ "nbf": now() + 100 }), "not valid yet"),
        (json!({ "nbf": "yesterday" }), "no nbf"),
        (json!({ "iat": now() + 100 }), "not valid yet"),
        (json!({ "iss": "https://gitlab.example.org" }), "issuer https://gitlab.example.org are not taken"),
        (json!({ "iss": format!("{}/", issuer.url()) }), "are not taken"),
        (json!({ "iss": null }), "no iss"),
        (
            json!({ "aud": "https://other.example.org" }),
            "audience https://other.example.org: request one for https://cache",
        ),
        (json!({ "aud": null }), "audience none"),
        (json!({ "sub": null }), "no sub"),
        (json!({ "sub": "" }), "no sub"),
    ] {
        pond.assert_refused(&signed(others), words);
    }
    // Signed by nobody, by somebody else, with a key that is for something else, with what everybody knows, or changed.
    let header = |header: Value| BASE64URL_NOPAD.encode(header.to_string().as_bytes());
    let [_, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    for algorithm in ["none", "None", "NONE"] {
        let unsigned = header(json!({ "alg": algorithm, "kid": "r" }));
        pond.assert_refused(&format!("{unsigned}.{body}."), "not signed");
        pond.assert_refused(&format!("{unsigned}.{body}.{signature}"), "not signed");
    }
    pond.assert_refused(&format!("{}.{body}.", header(json!({ "alg": "RS256", "kid": "r" }))), "not signed");
    pond.assert_refused(&foreign.sign(&claims()), "signature");
    pond.assert_refused(&ecdsa.sign_as("r", &claims()), "not for its algorithm");
    pond.assert_refused(&rsa.sign_as("e", &claims()), "not for its algorithm");
    let known = rsa.public();
    for secret in [known["n"].as_str().unwrap().as_bytes(), known.to_string().as_bytes(), b""] {
        let header = Header { kid: Some("r".into()), ..Header::default() };
        let confused = encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
        pond.assert_refused(&confused, "RS256 or ES256");
    }
    let other = BASE64URL_NOPAD.encode(but(claims(), json!({ "job_id": 43 })).to_string().as_bytes());
    let [head, ..] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    pond.assert_refused(&format!("{head}.{other}.{signature}"), "signature");
    // Its own key in its header is nobody's word for it.
    let own = header(json!({ "alg": "RS256", "kid": "r", "jwk": foreign.public() }));
    let message = foreign.sign(&claims());
    let forged = message.split('.').nth(2).unwrap();
    pond.assert_refused(&format!("{own}.{body}.{forged}"), "signature");
    let critical = header(json!({ "alg": "RS256", "kid": "r", "crit": ["exp"] }));
    pond.assert_refused(&format!("{critical}.{body}.{signature}"), "damaged");
    pond.push(&good).unwrap();
}

#[test]
fn changed_keys_are_known_at_once_and_a_flood_of_unknown_ones_fetches_little() {
    let (old, new) = (Key::rsa("old"), Key::ecdsa("new"));
    let issuer = Issuer::start(&[&old]);
    let pond = Pond::new(&issuer);
    let shown = old.sign(&issuer.claims());
    pond.push(&shown).unwrap();
    assert_eq!(issuer.fetches(), 1);
    issuer.publish(&[&new]);
    pond.push(&new.sign(&issuer.claims())).unwrap();
    assert_eq!(issuer.fetches(), 2);
    pond.push(&shown).unwrap();
    let later = old.sign(&but(issuer.claims(), json!({ "job_id": 43 })));
    pond.assert_refused(&later, "a key that gitlab does not publish");

    let (before, since) = (issuer.fetches(), Instant::now());
    for number in 0..300 {
        pond.assert_refused(
            &new.sign_as(&format!("unknown-{number}"), &issuer.claims()),
            "a key that gitlab does not",
        );
    }
    pond.push(&new.sign(&issuer.claims())).unwrap();
    let most = 1 + usize::try_from(since.elapsed().as_secs() / 10).unwrap();
    assert!(issuer.fetches() - before <= most, "{} fetches", issuer.fetches() - before);
}

#[test]
fn server_starts_without_its_issuer_and_goes_on_without_it() {
    let key = Key::ecdsa("e");
    let mut issuer = Issuer::start(&[&key]);
    issuer.stop();
    let pond = Pond::new(&issuer);
    pond.look(None).unwrap();
    pond.assert_refused(&key.sign(&issuer.claims()), "its keys could not be fetched yet");
    pond.server.wait_for("the keys of an issuer cannot be fetched", 1);
    issuer.start_again();
    pond.until("keys are fetched once they can be", || pond.push(&key.sign(&issuer.claims())).is_ok());
    issuer.stop();
    pond.push(&key.sign(&but(issuer.claims(), json!({ "job_id": 43 })))).unwrap();
}

#[test]
fn redirections_and_endless_answers_are_no_keys() {
    let key = Key::ecdsa("e");
    for (answer, words) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "redirections are not followed",
        ),
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(300_000)), "larger than 256 KiB"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "no set of keys"),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_owned(), "it answers 500"),
    ] {
        let issuer = Issuer::start(&[&key]);
        issuer.answer_instead(&answer);
        let pond = Pond::new(&issuer);
        pond.assert_refused(&key.sign(&issuer.claims()), "could not be fetched");
        pond.server.wait_for(words, 1);
    }
}

/// What is trusted is the CA that was given, and not whoever answers at the address.
#[test]
fn issuer_without_the_right_certificate_is_not_asked() {
    let key = Key::ecdsa("e");
    let (issuer, other) = (Issuer::start(&[&key]), Issuer::start(&[&key]));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millpond.toml");
    let right = issuer.configuration("", GRANTS);
    let ca = |text: &str| text.lines().find(|line| line.starts_with("ca = ")).unwrap().to_owned();
    let wrong = right.replace(&ca(&right), &ca(&other.configuration("", GRANTS)));
    fs::write(&path, wrong).unwrap();
    let server = Server::start_with(&["--config", path.to_str().unwrap()]);
    server.wait_for("no TLS: invalid peer certificate", 1);
    assert_eq!(issuer.fetches(), 0);
}

/// The clocks may differ by a minute, so a token that expired less long ago is new enough to be shown first.
#[test]
fn token_that_was_shown_in_time_outlives_its_time_by_the_grace_of_its_issuer() {
    let key = Key::ecdsa("e");
    let issuer = Issuer::start(&[&key]);
    for (grace, holds) in [("1h", true), ("0s", false)] {
        let mut pond = Pond::with(&issuer, &format!("grace = \"{grace}\""));
        let end = now() - 57;
        let token =
            |job: u64| key.sign(&but(issuer.claims(), json!({ "exp": end, "iat": end - 10, "job_id": job })));
        let shown = token(42);
        pond.push(&shown).unwrap();
        let mut jobs = 100..;
        pond.until("its time is over", || pond.push(&token(jobs.next().unwrap())).is_err());
        // By token and not by connection: each push has its own.
        assert_eq!(pond.push(&shown).is_ok(), holds, "{grace}");
        if !holds {
            pond.assert_refused(&shown, "longer ago than the operator");
        }
        pond.server.stop();
        pond.server.start_again();
        pond.assert_refused(&shown, "was not shown here before that");
    }
}

#[test]
fn revoked_is_what_was_issued_until_then_on_a_server_that_runs() {
    let key = Key::ecdsa("e");
    let issuer = Issuer::start(&[&key]);
    let pond = Pond::new(&issuer);
    let token = key.sign(&issuer.claims());
    let other = key.sign(&but(issuer.claims(), json!({ "sub": "project_path:team/other" })));
    pond.push(&token).unwrap();
    pond.push(&other).unwrap();
    let said = pond.keys.run(&["tokens", "revoke", "gitlab:project_path:team/app:*"]);
    assert!(said.contains("issued until now is revoked"), "{said}");
    pond.until("it is refused", || pond.push(&token).is_err());
    pond.assert_refused(&token, "revoked");
    pond.push(&other).unwrap();
    // Within the minute by which clocks may differ a new one is refused too, and so is one that does not say when it is from.
    pond.assert_refused(&key.sign(&but(issuer.claims(), json!({ "job_id": 1 }))), "revoked");
    pond.assert_refused(&key.sign(&but(issuer.claims(), json!({ "iat": null }))), "revoked");
    assert!(
        pond.keys
            .run(&["tokens", "list"])
            .contains("gitlab:project_path:team/app:*  revoked if issued until")
    );
}

/// A token is 8 KiB at most, and any bytes are taken apart without harm.
#[test]
fn any_bytes_are_refused_and_the_server_goes_on() {
    let key = Key::ecdsa("e");
    let issuer = Issuer::start(&[&key]);
    let pond = Pond::new(&issuer);
    let deep = format!("{{\"alg\":{}}}", "[".repeat(4000));
    for text in [deep.as_str(), "{}", "null", "{\"alg\":\"RS256\"}", "{\"alg\":\"ES256\",\"kid\":7}"] {
        let part = BASE64URL_NOPAD.encode(text.as_bytes());
        for token in [format!("{part}.{part}.{part}"), format!("{part}..x"), format!("x.{part}.")] {
            let status = pond.look(Some(&token)).unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{text}: {status}");
        }
    }
    assert_eq!(pond.look(Some(&HEXLOWER.encode(&[7; 100]))).unwrap_err().code(), Code::Unauthenticated);
    pond.push(&key.sign(&issuer.claims())).unwrap();
}
