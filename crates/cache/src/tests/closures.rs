//! What belongs to a closure, what may be missing of it, and trees that are no trees.

use super::*;

#[tokio::test]
async fn optional_trees_may_dangle_and_required_ones_may_not() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let (uri, never) = (format!("{ARTIFACT}key"), Digest::of(b"a tree never sent"));
    let root = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let blob = fixture.put_message(&artifact(root, Some(never))).await.unwrap();
    let mut push = asset(AssetKind::Blob, &[&uri], blob);
    push.references_directories = vec![never];
    assert_eq!(fixture.cache.push_asset(&fixture.push, push.clone()).await.unwrap(), Published::Whole);
    assert_eq!(fixture.fetch_digest(AssetKind::Blob, &uri).await, Some(blob));
    // Under a URI of another form every reference is required.
    push.uris = vec!["urn:other".into()];
    assert!(matches!(fixture.cache.push_asset(&fixture.push, push).await, Err(Error::Incomplete { .. })));
}

#[tokio::test]
async fn blob_that_is_no_artifact_is_invalid_under_an_artifact_uri() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let blob = fixture.put("\u{7}not a message").await.unwrap();
    let pushed = fixture.push(AssetKind::Blob, &[&format!("{ARTIFACT}key")], blob).await;
    assert!(matches!(pushed, Err(Error::Invalid(_))), "{pushed:?}");
}

#[tokio::test]
async fn file_that_is_also_a_directory_of_the_tree_is_walked_as_both() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let missing = Digest::of(b"below");
    let child = fixture.put_message(&directory(&[("below", missing)], &[])).await.unwrap();
    let root = directory(&[("copy", child)], &[("child", child)]);
    let root = fixture.put_message(&root).await.unwrap();
    let pushed = fixture.push(AssetKind::Directory, &["urn:tree"], root).await;
    assert!(matches!(pushed, Err(Error::Incomplete { .. })), "{pushed:?}");
    fixture.put("below").await.unwrap();
    assert_eq!(fixture.push(AssetKind::Directory, &["urn:tree"], root).await.unwrap(), Published::Whole);
}

#[tokio::test]
async fn nested_tree_does_not_become_a_million() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let mut below = fixture.put_message(&directory(&[], &[])).await.unwrap();
    let names: Vec<String> = (0..10).map(|number| format!("d{number}")).collect();
    for _ in 0..7 {
        let children: Vec<_> = names.iter().map(|name| (name.as_str(), below)).collect();
        below = fixture.put_message(&directory(&[], &children)).await.unwrap();
    }
    assert_eq!(fixture.push(AssetKind::Directory, &["urn:deep"], below).await.unwrap(), Published::Whole);
    let mut walk = fixture.cache.tree(&fixture.pull, below, 0, 3).await.unwrap();
    let mut pages = Vec::new();
    while let Some(page) = walk.next_page().await.unwrap() {
        pages.push((page.directories.len(), page.next));
    }
    assert_eq!(pages, [(3, Some(3)), (3, Some(6)), (2, None)]);
    let mut rest = fixture.cache.tree(&fixture.pull, below, 6, 0).await.unwrap();
    assert_eq!(rest.next_page().await.unwrap().unwrap().directories.len(), 2);
}

#[tokio::test]
async fn tree_that_is_too_deep_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let mut below = fixture.put_message(&directory(&[], &[])).await.unwrap();
    for _ in 0..1200 {
        below = fixture.put_message(&directory(&[], &[("d", below)])).await.unwrap();
    }
    let pushed = fixture.push(AssetKind::Directory, &["urn:deep"], below).await;
    assert!(matches!(pushed, Err(Error::Invalid(_))), "{pushed:?}");
}

#[tokio::test]
async fn missing_root_is_not_found_and_a_missing_child_is_left_out_of_a_tree() {
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(data.path()).await;
    let missing = Digest::of(b"never sent");
    assert!(matches!(fixture.cache.tree(&fixture.pull, missing, 0, 0).await, Err(Error::NotFound(_))));
    let root = fixture.put_message(&directory(&[], &[("gone", missing)])).await.unwrap();
    let mut walk = fixture.cache.tree(&fixture.pull, root, 0, 0).await.unwrap();
    assert_eq!(walk.next_page().await.unwrap().unwrap().directories.len(), 1);
    assert!(walk.next_page().await.unwrap().is_none());
}
