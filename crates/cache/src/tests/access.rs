//! Who may do what: bounds of listeners, grants of identities.

use std::sync::Arc;

use super::*;
use crate::{Grant, Identity, Pattern, Rights};

const PULLERS_ANYBODY: Bounds = Bounds { most: Rights::Push, anonymous: Rights::Pull };
const KEYS_ONLY: Bounds = Bounds { most: Rights::Push, anonymous: Rights::Nothing };

fn grant(rights: Rights, instances: &[&str], names: &[&str]) -> Grant {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(*text).unwrap()).collect();
    Grant { rights, instances: patterns(instances), names: patterns(names) }
}

fn known(bounds: Bounds, grants: Vec<Grant>) -> Access {
    Access::known(bounds, Arc::new(Identity { name: "alice".into(), grants, lacks: None }))
}

/// Whether it may pull and push, in the instance of that name.
fn may(cache: &Cache, access: &Access, instance: &str) -> (bool, bool) {
    let instance = cache.instance(instance).unwrap();
    let client = Client::default();
    (access.pull(instance.clone(), &client).is_ok(), access.push(instance, &client).is_ok())
}

#[tokio::test]
async fn listener_bounds_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(&folder.path().join("data")).await;
    let cache = &fixture.cache;
    let admin = vec![grant(Rights::Admin, &[], &[])];
    for (access, rights) in [
        (Access::anonymous(Bounds::OPEN), (true, true)),
        (Access::anonymous(Bounds::PULL_ONLY), (true, false)),
        (Access::anonymous(PULLERS_ANYBODY), (true, false)),
        (Access::anonymous(KEYS_ONLY), (false, false)),
        (known(Bounds::PULL_ONLY, admin.clone()), (true, false)),
        (known(KEYS_ONLY, admin), (true, true)),
        (known(KEYS_ONLY, vec![grant(Rights::Pull, &[], &[])]), (true, false)),
        (known(KEYS_ONLY, vec![]), (false, false)),
        (known(PULLERS_ANYBODY, vec![]), (true, false)),
        (known(KEYS_ONLY, vec![grant(Rights::Push, &["x"], &[])]), (false, false)),
        (Access::refused(Bounds::OPEN, "expired", None), (false, false)),
    ] {
        assert_eq!(may(cache, &access, ""), rights, "{access:?}");
    }
    cache.close().await;
}

#[tokio::test]
async fn whoever_may_push_somewhere_may_push() {
    let elsewhere = vec![grant(Rights::Push, &["x"], &[])];
    assert!(known(KEYS_ONLY, elsewhere.clone()).may_push());
    assert!(!known(Bounds::PULL_ONLY, elsewhere).may_push());
    assert!(!known(KEYS_ONLY, vec![grant(Rights::Pull, &[], &[])]).may_push());
    assert!(!Access::refused(Bounds::OPEN, "expired", None).may_push());
}

#[tokio::test]
async fn everything_is_administered_by_whoever_may_do_everything_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(&folder.path().join("data")).await;
    let bounds = Bounds { most: Rights::Admin, anonymous: Rights::Push };
    let admin = |access: Access| access.admin(fixture.cache.instance("").unwrap(), &Client::default());
    admin(known(bounds, vec![grant(Rights::Admin, &[], &[])])).unwrap();
    for (access, part) in [
        (Access::anonymous(bounds), "needs a credential"),
        (Access::refused(bounds, "expired", None), "expired"),
        (known(Bounds::OPEN, vec![grant(Rights::Admin, &[], &[])]), "an address that allows it"),
        (known(bounds, vec![grant(Rights::Push, &[], &[])]), "alice may not administer"),
        (known(bounds, vec![grant(Rights::Admin, &["*"], &[])]), "limited to no instance"),
        (known(bounds, vec![grant(Rights::Admin, &[], &["artifact:*"])]), "limited to no instance"),
    ] {
        let said = admin(access).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
    fixture.cache.close().await;
}

#[tokio::test]
async fn refusals_say_whether_a_credential_is_wrong_missing_or_too_weak() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(&folder.path().join("data")).await;
    let instance = || fixture.cache.instance("").unwrap();
    let client = Client::default();
    let refused = Access::refused(Bounds::OPEN, "the token has expired", None);
    let said = refused.pull(instance(), &client).unwrap_err();
    assert!(matches!(&said, Error::Unauthenticated(words) if words == "the token has expired"), "{said:?}");
    let said = Access::anonymous(PULLERS_ANYBODY).push(instance(), &client).unwrap_err();
    assert!(matches!(&said, Error::Denied(words) if words.contains("need a credential")), "{said:?}");
    let said = Access::anonymous(KEYS_ONLY).pull(instance(), &client).unwrap_err();
    assert!(matches!(said, Error::Unauthenticated(_)), "{said:?}");
    let weak = known(KEYS_ONLY, vec![grant(Rights::Pull, &[], &[])]);
    let said = weak.push(instance(), &client).unwrap_err();
    assert!(matches!(&said, Error::Denied(words) if words.starts_with("alice may not push")), "{said:?}");
    let said = Access::anonymous(Bounds::PULL_ONLY).push(instance(), &client).unwrap_err();
    assert!(matches!(said, Error::Denied(_)), "{said:?}");
    fixture.cache.close().await;
}

#[tokio::test]
async fn names_that_no_grant_covers_are_refused_to_push_and_misses_to_pull() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(&folder.path().join("data")).await;
    let cache = &fixture.cache;
    let instance = || cache.instance("").unwrap();
    let client = Client { identity: "alice".into(), address: None };
    let grants = vec![
        grant(Rights::Push, &[], &["artifact:sdk/*", "source:*"]),
        grant(Rights::Pull, &[], &["action:*"]),
    ];
    let access = known(KEYS_ONLY, grants);
    let push = access.push(instance(), &client).unwrap();
    let pull = access.pull(instance(), &client).unwrap();
    let digest = fixture.put("content").await.unwrap();
    let (other, own) = ("https://example.org/x", "urn:fdc:buildstream.build:2020:v1:sdk/x/k");
    let named = |uris: &[&str]| asset(AssetKind::Blob, uris, digest);
    let refused = cache.push_asset(&push, named(&[other])).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    let refused = cache.update_action_result(&push, digest, Bytes::new()).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    // All or nothing.
    assert!(matches!(cache.push_asset(&push, named(&[own, other])).await, Err(Error::Denied(_))));
    cache.push_asset(&push, named(&[own])).await.unwrap();

    // Somebody who may do everything names the other one.
    cache.push_asset(&fixture.push, named(&[other])).await.unwrap();
    let query = |uri: &str| AssetQuery {
        kind: AssetKind::Blob,
        uris: vec![uri.to_owned()],
        qualifiers: Vec::new(),
        oldest_content_accepted: None,
    };
    cache.fetch_asset(&pull, query(own)).await.unwrap();
    cache.fetch_asset(&fixture.pull, query(other)).await.unwrap();
    assert!(matches!(cache.fetch_asset(&pull, query(other)).await, Err(Error::NotFound(_))));
    // What everybody may see, whoever is known may see as well.
    let pull = known(PULLERS_ANYBODY, vec![grant(Rights::Push, &[], &["artifact:sdk/*"])]);
    cache.fetch_asset(&pull.pull(instance(), &client).unwrap(), query(other)).await.unwrap();
    cache.close().await;
}
