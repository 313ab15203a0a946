//! A server that lies to `millpond copy`: it costs the names that it lies about, and no others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use millpond_proto::asset::fetch_server::{Fetch, FetchServer};
use millpond_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse,
};
use millpond_proto::buildstream::reference_storage_server::{ReferenceStorage, ReferenceStorageServer};
use millpond_proto::buildstream::{
    GetReferenceRequest, GetReferenceResponse, StatusRequest, StatusResponse, UpdateReferenceRequest,
    UpdateReferenceResponse,
};
use millpond_proto::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use millpond_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use millpond_proto::reapi::content_addressable_storage_server::{
    ContentAddressableStorage, ContentAddressableStorageServer,
};
use millpond_proto::reapi::{
    BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest, BatchUpdateBlobsResponse, Digest,
    Directory, DirectoryNode, FileNode, FindMissingBlobsRequest, FindMissingBlobsResponse, GetTreeRequest,
    GetTreeResponse, batch_read_blobs_response,
};
use prost::Message;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::admin::{answer, ask};
use crate::battery::digest_of;
use crate::copy::told;
use crate::server::Server;

/// What becomes of a blob that is asked for.
#[derive(Clone, Debug)]
enum Told {
    Content(Bytes),
    /// Nothing ever, though it is there.
    Nothing,
    /// It is left out of the answer.
    LeftOut,
    /// It is there, and then it is not.
    Gone,
    /// No end of bytes.
    NoEnd,
    /// An answer of many small fields, which take much more memory than they have bytes.
    Many,
}

/// Names and blobs, as a test makes them up.
#[derive(Clone, Debug, Default)]
struct Liar {
    names: HashMap<String, Digest>,
    blobs: HashMap<String, Told>,
    batches: bool,
    /// It has BuildStream 1's references instead of assets, and no batches, as its first servers.
    is_old: bool,
}

impl Liar {
    fn blob(&mut self, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = digest_of(&content);
        self.blobs.insert(digest.hash.to_string(), Told::Content(content));
        digest
    }

    /// A blob of which something else is told.
    fn lie(&mut self, content: &[u8], told: Told) -> Digest {
        let digest = digest_of(content);
        self.blobs.insert(digest.hash.to_string(), told);
        digest
    }

    fn name(&mut self, uri: &str, digest: Digest) {
        self.names.insert(uri.to_owned(), digest);
    }

    fn directory(&mut self, files: &[Digest], directories: &[Digest]) -> Digest {
        let file = |(number, digest): (usize, &Digest)| FileNode {
            name: format!("file-{number}"),
            digest: Some(digest.clone()),
            ..Default::default()
        };
        let directory = |(number, digest): (usize, &Digest)| DirectoryNode {
            name: format!("directory-{number}"),
            digest: Some(digest.clone()),
        };
        let directory = Directory {
            files: files.iter().enumerate().map(file).collect(),
            directories: directories.iter().enumerate().map(directory).collect(),
            ..Default::default()
        };
        self.blob(directory.encode_to_vec())
    }

    fn told(&self, digest: &Digest) -> Told {
        self.blobs.get(&*digest.hash).cloned().unwrap_or(Told::Gone)
    }

    /// Serves until the runtime goes.
    fn serve(self, runtime: &Runtime) -> SocketAddr {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let incoming = TcpListenerStream::new(listener)
                .map(|stream| stream.inspect(|stream| stream.set_nodelay(true).unwrap()));
            let liar = Arc::new(self);
            let assets = (!liar.is_old).then(|| FetchServer::from_arc(Arc::clone(&liar)));
            let references = liar.is_old.then(|| ReferenceStorageServer::from_arc(Arc::clone(&liar)));
            let server = tonic::transport::Server::builder()
                .add_optional_service(assets)
                .add_optional_service(references)
                .add_service(ContentAddressableStorageServer::from_arc(Arc::clone(&liar)))
                .add_service(ByteStreamServer::from_arc(liar))
                .serve_with_incoming(incoming);
            tokio::spawn(server);
            address
        })
    }
}

#[async_trait]
impl Fetch for Liar {
    async fn fetch_blob(
        &self,
        asked: Request<FetchBlobRequest>,
    ) -> Result<Response<FetchBlobResponse>, Status> {
        let uri = asked.into_inner().uris.pop().unwrap_or_default();
        let digest = self.names.get(&format!("blob {uri}")).cloned();
        let blob_digest = Some(digest.ok_or_else(|| Status::not_found("none"))?);
        Ok(Response::new(FetchBlobResponse { uri, blob_digest, ..Default::default() }))
    }

    async fn fetch_directory(
        &self,
        asked: Request<FetchDirectoryRequest>,
    ) -> Result<Response<FetchDirectoryResponse>, Status> {
        let uri = asked.into_inner().uris.pop().ok_or_else(|| Status::invalid_argument("no URI"))?;
        let digest = self.names.get(&uri).cloned();
        let root_directory_digest = Some(digest.ok_or_else(|| Status::not_found("none"))?);
        Ok(Response::new(FetchDirectoryResponse { uri, root_directory_digest, ..Default::default() }))
    }
}

#[async_trait]
impl ReferenceStorage for Liar {
    async fn get_reference(
        &self,
        asked: Request<GetReferenceRequest>,
    ) -> Result<Response<GetReferenceResponse>, Status> {
        let digest = self.names.get(&asked.into_inner().key).cloned();
        let digest = Some(digest.ok_or_else(|| Status::not_found("none"))?);
        Ok(Response::new(GetReferenceResponse { digest }))
    }

    async fn update_reference(
        &self,
        _: Request<UpdateReferenceRequest>,
    ) -> Result<Response<UpdateReferenceResponse>, Status> {
        Err(Status::permission_denied("nothing is taken"))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse { allow_updates: false }))
    }
}

#[async_trait]
impl ContentAddressableStorage for Liar {
    async fn find_missing_blobs(
        &self,
        asked: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        let asked = asked.into_inner().blob_digests;
        let missing = asked.into_iter().filter(|digest| matches!(self.told(digest), Told::Gone));
        // And what nobody asked for.
        let stranger = Digest { hash: "no hash".into(), size_bytes: -1 };
        let missing_blob_digests = missing.chain([stranger]).collect();
        Ok(Response::new(FindMissingBlobsResponse { missing_blob_digests }))
    }

    async fn batch_update_blobs(
        &self,
        _: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        Err(Status::permission_denied("nothing is taken"))
    }

    async fn batch_read_blobs(
        &self,
        asked: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        if !self.batches {
            return Err(Status::unimplemented("no batches"));
        }
        let mut responses = Vec::new();
        for digest in asked.into_inner().digests {
            let (data, code) = match self.told(&digest) {
                Told::Content(content) => (content, 0),
                Told::Nothing => return std::future::pending().await,
                Told::LeftOut => continue,
                Told::Gone => (Bytes::new(), 5),
                Told::NoEnd => (vec![b'x'; 32 << 20].into(), 0),
                Told::Many => {
                    responses.resize(20_000, batch_read_blobs_response::Response::default());
                    continue;
                }
            };
            let status = Some(millpond_proto::rpc::Status { code, ..Default::default() });
            let digest = Some(digest);
            responses.push(batch_read_blobs_response::Response { digest, data, status, compressor: 0 });
        }
        Ok(Response::new(BatchReadBlobsResponse { responses }))
    }

    type GetTreeStream = ReceiverStream<Result<GetTreeResponse, Status>>;

    async fn get_tree(&self, _: Request<GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        Err(Status::unimplemented("no trees"))
    }
}

#[async_trait]
impl ByteStream for Liar {
    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;

    async fn read(&self, asked: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let name = asked.into_inner().resource_name;
        let hash = name.split('/').nth_back(1).unwrap_or_default();
        let told = self.blobs.get(hash).cloned().unwrap_or(Told::Gone);
        let (sender, answers) = tokio::sync::mpsc::channel(1);
        let holds_on = matches!(told, Told::Nothing);
        let pieces: Vec<Bytes> = match told {
            Told::Content(content) => content.chunks(1 << 20).map(Bytes::copy_from_slice).collect(),
            Told::Gone | Told::LeftOut | Told::Many => return Err(Status::not_found("none")),
            Told::Nothing => Vec::new(),
            Told::NoEnd => vec![Bytes::from(vec![b'x'; 1 << 20]); 1 << 10],
        };
        tokio::spawn(async move {
            for data in pieces {
                if sender.send(Ok(ReadResponse { data })).await.is_err() {
                    return;
                }
            }
            if holds_on {
                sender.closed().await;
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn write(&self, _: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::permission_denied("nothing is taken"))
    }

    async fn query_write_status(
        &self,
        _: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        Err(Status::unimplemented("nothing is taken"))
    }
}

/// A name for each lie, and what is said of it; and one that is sound.
fn lies(liar: &mut Liar) -> Vec<(&'static str, &'static str)> {
    let sound = liar.blob(&b"sound"[..]);
    let large: Bytes = vec![7; 3_000_000].into();
    let large_digest = liar.blob(large.clone());
    let root = liar.directory(&[sound.clone(), large_digest], &[]);
    liar.name("t:sound", root);

    let wrong = liar.lie(b"what it should be", Told::Content(Bytes::from_static(b"what it is not !!")));
    let root = liar.directory(&[sound.clone(), wrong], &[]);
    liar.name("t:wrong", root);
    let mut flipped = large.to_vec();
    flipped[2_000_000] ^= 1;
    let (mut other, mut cut) = (large.to_vec(), large.to_vec());
    (other[0], cut[0]) = (1, 2);
    flipped[0] = 1;
    let flipped = liar.lie(&other, Told::Content(flipped.into()));
    let root = liar.directory(&[flipped], &[]);
    liar.name("t:flipped", root);
    let cut = liar.lie(&cut, Told::Content(large.slice(..2_000_000)));
    let root = liar.directory(&[cut], &[]);
    liar.name("t:cut", root);
    let gone = liar.lie(b"gone", Told::Gone);
    let root = liar.directory(&[gone], &[]);
    liar.name("t:gone", root);
    let no_end = liar.lie(&vec![9; 5_000_000], Told::NoEnd);
    let root = liar.directory(&[no_end], &[]);
    liar.name("t:no-end", root);
    let left_out = liar.lie(b"left out", Told::LeftOut);
    let root = liar.directory(&[left_out], &[]);
    liar.name("t:left-out", root);
    let small_no_end = liar.lie(b"no end", Told::NoEnd);
    let root = liar.directory(&[small_no_end], &[]);
    liar.name("t:small-no-end", root);
    let many = liar.lie(b"many", Told::Many);
    let root = liar.directory(&[many], &[]);
    liar.name("t:many", root);
    // Two bytes for each of a million files.
    let dense = liar.blob([0x0a, 0].repeat(1 << 20));
    liar.name("t:dense", dense);
    // As deep as no tree is.
    let mut deep = liar.directory(&[sound], &[]);
    for _ in 0..1100 {
        deep = liar.directory(&[], &[deep]);
    }
    liar.name("t:deep", deep);
    let garbage = liar.blob(&b"\xff\xff no directory"[..]);
    liar.name("t:garbage", garbage);
    let huge = Digest { hash: "ab".repeat(32).into(), size_bytes: i64::MAX };
    liar.blobs.insert(huge.hash.to_string(), Told::NoEnd);
    let root = liar.directory(&[], std::slice::from_ref(&huge));
    liar.name("t:huge-directory", root);
    let root = liar.directory(&[huge], &[]);
    liar.name("t:huge-file", root);
    liar.name("t:no-digest", Digest { hash: "x".into(), size_bytes: -5 });
    liar.name("t:nothing", Digest::default());
    vec![
        ("t:wrong", "other bytes"),
        ("t:flipped", "other bytes"),
        ("t:cut", "ends after 2000000 of 3000000 bytes"),
        ("t:gone", "is not there"),
        ("t:no-end", "sends more than its 5000000 bytes"),
        ("t:left-out", if liar.batches { "leaves it out of its answer" } else { "is not there" }),
        (
            "t:small-no-end",
            if liar.batches { "message length too large" } else { "sends more than its 6 bytes" },
        ),
        ("t:many", if liar.batches { "its answer has more than 17 fields" } else { "is not there" }),
        ("t:dense", "a node with a bad digest: it has none"),
        ("t:deep", "nested deeper than 1000"),
        ("t:garbage", "is not a Directory"),
        ("t:huge-directory", "larger than this cache takes"),
        ("t:huge-file", "larger than this cache takes"),
        ("t:no-digest", "no digest"),
        ("t:nothing", "no digest"),
    ]
}

#[test]
fn lies_cost_the_names_that_they_are_about() {
    let runtime = Runtime::new().unwrap();
    for batches in [true, false] {
        let mut liar = Liar { batches, ..Liar::default() };
        let lies = lies(&mut liar);
        let address = liar.serve(&runtime);
        let to = Server::start_with(&["--max-size", "1GB"]);
        let names: Vec<_> = lies.iter().map(|(name, _)| *name).collect();
        let question = format!("http://{address} t:sound {}", names.join(" "));
        let (code, planned) = told(&to, &format!("copy {question} --dry-run"));
        assert_eq!(code, 3, "{planned}");
        let (code, copied) = told(&to, &format!("copy {question}"));
        assert_eq!((code, &copied["names"]), (3, &1.into()), "{copied}");
        let broken = copied["broken"].as_array().unwrap();
        assert_eq!(broken.len(), lies.len(), "{copied}");
        for (name, why) in &lies {
            let told = broken.iter().find(|broken| broken["name"] == *name).unwrap();
            assert!(told["why"].as_str().unwrap().contains(why), "{batches} {name}: {told}");
        }
        assert_eq!(answer(&to, "status --json")["names"], 1);
        let (code, compared) = told(&to, &format!("verify http://{address}"));
        assert_eq!((code, &compared["same"]), (0, &1.into()), "{compared}");
        assert!(!to.log().contains("panicked"), "{}", to.log());
        assert_eq!(ask(&to, "fsck").0, 0);
    }
}

/// The deadlines are the program's own, so this takes their time.
#[test]
fn silence_costs_a_name_and_in_the_end_the_server_is_given_up() {
    let runtime = Runtime::new().unwrap();
    let mut liar = Liar { batches: true, ..Liar::default() };
    let mut names = Vec::new();
    for number in 0..8 {
        let silent = liar.lie(format!("silent {number}").as_bytes(), Told::Nothing);
        let root = liar.directory(&[silent], &[]);
        liar.name(&format!("t:{number}"), root);
        names.push(format!("t:{number}"));
    }
    let address = liar.serve(&runtime);
    let to = Server::start();
    let (code, _, complaint) = ask(&to, &format!("copy http://{address} {}", names.join(" ")));
    assert!(code == 1 && complaint.contains("answers no more: it is silent"), "{code} {complaint}");
    assert_eq!(answer(&to, "status --json")["names"], 0);
}

/// What is missing there of a name that is the same is found.
#[test]
fn blobs_that_the_other_server_lost_are_told() {
    let runtime = Runtime::new().unwrap();
    let mut liar = Liar { batches: true, ..Liar::default() };
    let file = liar.blob(&b"a file"[..]);
    let root = liar.directory(std::slice::from_ref(&file), &[]);
    liar.name("t:one", root);
    let whole = liar.clone().serve(&runtime);
    let to = Server::start();
    assert_eq!(told(&to, &format!("copy http://{whole} t:one")).0, 0);
    liar.blobs.insert(file.hash.to_string(), Told::Gone);
    let robbed = liar.serve(&runtime);
    let (code, compared) = told(&to, &format!("verify http://{robbed}"));
    assert_eq!((code, &compared["differ"]), (3, &1.into()), "{compared}");
    let difference = &compared["differences"][0];
    assert_eq!((&difference["difference"], &difference["name"]), (&"lacks-there".into(), &"t:one".into()));
    assert!(difference["what"].as_str().unwrap().starts_with(&*file.hash), "{compared}");
}

/// Servers of BuildStream 1.1 and 1.2 have no capabilities, no assets and no batches.
#[test]
fn first_servers_of_buildstream_1_are_spoken_to_as_such() {
    let runtime = Runtime::new().unwrap();
    let mut old = Liar { is_old: true, ..Liar::default() };
    let files: Vec<_> = (0..20).map(|number| old.blob(format!("file {number}"))).collect();
    let large = old.blob(vec![3; 2_500_000]);
    let below = old.directory(&files, &[]);
    let root = old.directory(&[large], &[below]);
    old.name("app/main/1", root);
    let address = old.serve(&runtime);
    let to = Server::start();
    let question = format!("http://{address} app/main/1 app/main/2 source:none");
    let (code, copied) = told(&to, &format!("copy {question}"));
    assert_eq!((code, &copied["names"], &copied["blobs"]), (3, &1.into(), &23.into()), "{copied}");
    let broken: Vec<_> = copied["broken"].as_array().unwrap().iter().map(|broken| &broken["name"]).collect();
    assert!(broken.len() == 2 && broken.contains(&&"app/main/2".into()), "{copied}");
    let (code, compared) = told(&to, &format!("verify http://{address}"));
    assert_eq!((code, &compared["same"]), (0, &1.into()), "{compared}");
}
