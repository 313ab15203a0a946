//! What takes the room: each blob once in every group, whoever else reaches it; and that looking takes turns and room for one.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::walks::WALKS_MAX;
use crate::{Admin, Grant, Group, GroupBy, HeldByNames, Identity, NamesWanted, Rights, Usage, UsageStep};

impl Fixture {
    pub(super) fn admin(&self) -> Permit<Admin> {
        let root =
            Identity { name: "root".into(), grants: vec![Grant::everywhere(Rights::Admin)], lacks: None };
        let access = Access::known(Bounds::ADMIN_ONLY, Arc::new(root));
        access.admin(self.cache.instance("").unwrap(), &Client::default()).unwrap()
    }

    async fn usage(&self, wanted: NamesWanted, by: GroupBy) -> Usage {
        let mut walk = self.cache.usage(&self.admin(), wanted, by).await.unwrap();
        loop {
            if let UsageStep::Done(usage) = walk.next().await.unwrap().unwrap() {
                assert!(walk.next().await.unwrap().is_none());
                return *usage;
            }
        }
    }
}

fn uri(project: &str, key: &str) -> String {
    format!("urn:fdc:buildstream.build:2020:artifact:{project}/element/{key}")
}

fn called<'u>(usage: &'u Usage, name: &str) -> &'u HeldByNames {
    let found = usage.groups.iter().find(|(group, _)| *group == Group::Called(name.into()));
    &found.unwrap_or_else(|| panic!("{name} in {usage:?}")).1
}

#[tokio::test]
async fn a_blob_counts_once_in_each_group_and_as_its_own_where_no_other_reaches_it() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let on_disk = |digests: &[Digest]| -> u64 {
        let inventory = fixture.cache.inner.blobs.inventory();
        digests.iter().map(|digest| inventory.bytes(inventory.find(digest).unwrap())).sum()
    };
    let [shared, of_sdk, of_app, waits, alone] =
        ["shared", "of sdk", "of app", "waits", "alone"].map(|text| fixture.put(text.repeat(50)));
    let (shared, of_sdk, of_app) = (shared.await.unwrap(), of_sdk.await.unwrap(), of_app.await.unwrap());
    let (waits, alone) = (waits.await.unwrap(), alone.await.unwrap());
    // A tree that both have, within trees of their own; a file of it is that same tree's message once more.
    let below = fixture.put_message(&directory(&[("s", shared)], &[])).await.unwrap();
    let sdk_root = directory(&[("f", of_sdk), ("m", below)], &[("a", below), ("b", below)]);
    let sdk_root = fixture.put_message(&sdk_root).await.unwrap();
    let app_root = fixture.put_message(&directory(&[("f", of_app)], &[("a", below)])).await.unwrap();
    let sdk = fixture.put_message(&artifact(sdk_root, None)).await.unwrap();
    let app = fixture.put_message(&artifact(app_root, None)).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri("sdk", "1"), &uri("sdk", "2")], sdk).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri("app", "1")], app).await.unwrap();
    let pending_root = directory(&[("w", waits), ("never", Digest::of(b"never"))], &[]);
    let pending_root = fixture.put_message(&pending_root).await.unwrap();
    let pending = fixture.put_message(&artifact(pending_root, None)).await.unwrap();
    fixture.push(AssetKind::Blob, &[&uri("app", "waits")], pending).await.unwrap();
    // As after the first pass that gave something back.
    fixture.cache.inner.raise_waterline(crate::relevel::SWEPT).unwrap();

    let common = on_disk(&[shared, below]);
    let (sdk_own, app_own) = (on_disk(&[of_sdk, sdk_root, sdk]), on_disk(&[of_app, app_root, app]));
    for remembered in [true, false] {
        if !remembered {
            fixture.cache.inner.walker.forget_all();
        }
        let usage = fixture.usage(NamesWanted::default(), GroupBy::Project).await;
        let held = |names, unique| HeldByNames { names, kept_names: 0, bytes: unique + common, unique };
        assert_eq!(*called(&usage, "sdk"), held(2, sdk_own));
        assert_eq!(*called(&usage, "app"), held(1, app_own));
        assert_eq!((usage.shared, usage.rest.names), (common, 0));
        assert_eq!((usage.unreached_blobs, usage.unreached), (1, on_disk(&[alone])));
        assert_eq!(usage.pending.unique, on_disk(&[waits, pending_root, pending]));
        assert_eq!(usage.in_use.blobs, fixture.cache.figures().live_bytes);
        let all = usage.shared + usage.unreached + usage.pending.unique + sdk_own + app_own;
        assert_eq!((all, usage.unread_names), (usage.in_use.blobs, 0));
    }
    let only = NamesWanted { project: Some("app".into()), ..NamesWanted::default() };
    let usage = fixture.usage(only, GroupBy::Element).await;
    assert_eq!((usage.groups.len(), called(&usage, "app/element").unique), (1, app_own));
    assert_eq!((usage.rest.names, usage.rest.unique), (2, sdk_own));
    let usage = fixture.usage(NamesWanted::default(), GroupBy::Used).await;
    assert_eq!(usage.groups.len(), 1);
    assert_eq!(usage.groups[0].0, Group::Within(Some(24 * 3600)));
    assert_eq!((usage.groups[0].1.unique, usage.shared), (sdk_own + app_own + common, 0));
    fixture.cache.close().await;
}

#[tokio::test]
async fn one_counts_at_a_time_takes_turns_and_raises_nothing() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let file = fixture.put("file").await.unwrap();
    let root = fixture.put_message(&directory(&[("f", file)], &[])).await.unwrap();
    fixture.push(AssetKind::Directory, &["urn:tree"], root).await.unwrap();
    let count = async || fixture.cache.usage(&fixture.admin(), NamesWanted::default(), GroupBy::Sort).await;

    let inner = &fixture.cache.inner;
    inner.walker.forget_all();
    let before = inner.clock.now();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fixture.usage(NamesWanted::default(), GroupBy::Sort).await;
    assert_eq!(inner.blobs.bytes_above(before), 0);

    let mut walk = count().await.unwrap();
    assert!(matches!(count().await, Err(Error::Busy(_))));
    // While all turns are taken it waits, and looking up does not wait for it.
    let mut turns = Vec::new();
    for _ in 0..WALKS_MAX {
        turns.push(fixture.cache.inner.walks.turn().await.unwrap());
    }
    let through = tokio::time::timeout(Duration::from_millis(300), async {
        while walk.next().await.unwrap().is_some() {}
    });
    assert!(through.await.is_err());
    assert_eq!(fixture.fetch_digest(AssetKind::Directory, "urn:tree").await, Some(root));
    drop(turns);
    // Whoever goes away leaves room for the next.
    drop(walk);
    let usage = fixture.usage(NamesWanted::default(), GroupBy::Sort).await;
    assert_eq!((usage.groups.len(), usage.unreached), (1, 0));
    fixture.cache.close().await;
}
