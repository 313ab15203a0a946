//! GetTree.

use millpond_proto::reapi::{Digest, Directory, DirectoryNode, FileNode, GetTreeRequest, GetTreeResponse};
use prost::Message;
use tonic::Code::{InvalidArgument, NotFound};
use tonic::Status;

use crate::server::{Client, TestServer, digest, refused, unknown_digest};

fn folder(name: &str, digest: &Digest) -> DirectoryNode {
    DirectoryNode { name: name.into(), digest: Some(digest.clone()) }
}

async fn pages(client: &mut Client, request: GetTreeRequest) -> Result<Vec<GetTreeResponse>, Status> {
    let mut stream = client.cas.get_tree(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page);
    }
    Ok(pages)
}

fn request(root: &Digest) -> GetTreeRequest {
    GetTreeRequest { root_digest: Some(root.clone()), ..Default::default() }
}

/// A root with `width` folders that differ by a file each, and the encoded root.
async fn wide_tree(client: &mut Client, width: usize) -> (Digest, Vec<u8>) {
    let mut root = Directory::default();
    for number in 0..width {
        let file =
            FileNode { name: format!("f{number:04}"), digest: Some(digest(b"file")), ..Default::default() };
        let child = client.put_message(&Directory { files: vec![file], ..Default::default() }).await;
        root.directories.push(folder(&format!("d{number:04}"), &child));
    }
    (client.put_message(&root).await, root.encode_to_vec())
}

#[tokio::test]
async fn directories_come_as_they_were_sent_in_pages() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let (root, encoded) = wide_tree(&mut client, 25).await;
    let all = pages(&mut client, request(&root)).await.unwrap();
    let directories: Vec<_> = all.iter().flat_map(|page| page.directories.clone()).collect();
    assert_eq!(directories.len(), 26);
    assert_eq!(directories[0], encoded);
    assert_eq!(all.last().unwrap().next_page_token, "");

    let paged = pages(&mut client, GetTreeRequest { page_size: 10, ..request(&root) }).await.unwrap();
    assert_eq!(paged.iter().map(|page| page.directories.len()).collect::<Vec<_>>(), [10, 10, 6]);
    assert_eq!(paged.iter().flat_map(|page| page.directories.clone()).collect::<Vec<_>>(), directories);

    let page_token = paged[0].next_page_token.clone();
    let rest = pages(&mut client, GetTreeRequest { page_token, ..request(&root) }).await.unwrap();
    assert_eq!(rest.iter().flat_map(|page| page.directories.clone()).collect::<Vec<_>>(), directories[10..]);
    server.stop().await;
}

#[tokio::test]
async fn equal_directories_come_once_however_often_they_are_nested() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut below = client.put_message(&Directory::default()).await;
    for _ in 0..7 {
        let directories = (0..10).map(|number| folder(&format!("{number}"), &below)).collect();
        below = client.put_message(&Directory { directories, ..Default::default() }).await;
    }
    let pages = pages(&mut client, request(&below)).await.unwrap();
    assert_eq!(pages.iter().map(|page| page.directories.len()).sum::<usize>(), 8);
    server.stop().await;
}

#[tokio::test]
async fn missing_root_is_not_found_and_a_missing_child_is_left_out() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    assert_eq!(refused(pages(&mut client, request(&unknown_digest())).await), NotFound);
    let directories = vec![folder("gone", &unknown_digest())];
    let root = client.put_message(&Directory { directories, ..Default::default() }).await;
    let found = pages(&mut client, request(&root)).await.unwrap();
    assert_eq!(found.iter().map(|page| page.directories.len()).sum::<usize>(), 1);
    server.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_invalid() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let (root, _) = wide_tree(&mut client, 2).await;
    for bad in [
        GetTreeRequest::default(),
        GetTreeRequest { page_size: -1, ..request(&root) },
        GetTreeRequest { page_token: "../x".into(), ..request(&root) },
        GetTreeRequest { page_token: "-5".into(), ..request(&root) },
        request(&Digest { hash: "zz".into(), size_bytes: 1 }),
    ] {
        assert_eq!(refused(pages(&mut client, bad).await), InvalidArgument);
    }
    server.stop().await;
}
