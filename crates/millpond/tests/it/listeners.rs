//! What a listener takes on the word of others: of a company's authority, and of the proxies in front of it; and writes that
//! it takes and throws away.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use millpond_proto::asset::PushBlobRequest;
use millpond_proto::asset::push_client::PushClient;
use millpond_proto::bytestream::WriteRequest;
use millpond_proto::bytestream::byte_stream_client::ByteStreamClient;
use millpond_proto::reapi;
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request};
use tower::service_fn;

use crate::battery::{Blob, digest_of};
use crate::company::Company;
use crate::server::Server;

const HEADER: &str = "x-client-cert";

/// A configured server, and a company with an authority of its own.
struct Scene {
    folder: TempDir,
    corp: Company,
    runtime: Runtime,
    server: Server,
}

impl Scene {
    fn new(listener: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let corp = company(folder.path());
        let configuration = format!(
            "[limits]\nconnections_per_address = 2\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [[authority]]\nname = \"corp\"\ncertificates = \"corp.crt\"\nrevoked = \"corp.crl\"\n\
             subjects = [\"ci*\"]\nallow = \"push\"\n"
        );
        let path = folder.path().join("millpond.toml");
        fs::write(&path, configuration).unwrap();
        let server = Server::start_where_configured(&["--config", path.to_str().unwrap()]);
        Self { folder, corp, runtime: Runtime::new().unwrap(), server }
    }

    /// The header in which a proxy hands on the certificate of this name.
    fn certificate(&self, name: &str) -> String {
        let pem = fs::read_to_string(self.folder.path().join(format!("{name}.crt"))).unwrap();
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        format!(":{}:", lines.collect::<String>())
    }

    fn channel(&self, from: [u8; 4]) -> Channel {
        let endpoint = Endpoint::from_shared(self.server.url().to_owned()).unwrap();
        let endpoint = endpoint.local_address(Some(IpAddr::V4(Ipv4Addr::from(from))));
        self.runtime.block_on(endpoint.connect()).unwrap()
    }

    /// A channel of a client that a proxy says is there.
    fn announced(&self, header: &'static [u8]) -> Result<Channel, tonic::transport::Error> {
        let address = self.server.url().trim_start_matches("http://").to_owned();
        let connect = service_fn(move |_: Uri| {
            let address = address.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(header).await?;
                std::io::Result::Ok(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://millpond");
        self.runtime.block_on(endpoint.connect_with_connector(connect))
    }

    /// What a push of a blob comes to.
    fn push(&self, channel: &Channel, certificate: Option<&str>, data: &'static [u8]) -> Code {
        self.push_with(channel, certificate.map(|certificate| (HEADER, certificate)).as_slice(), data)
    }

    /// The same with these headers.
    fn push_with(&self, channel: &Channel, headers: &[(&'static str, &str)], data: &'static [u8]) -> Code {
        let mut request = Request::new(Blob::new(data).update());
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let mut client = ContentAddressableStorageClient::new(channel.clone());
        let answer = self.runtime.block_on(client.batch_update_blobs(request));
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    fn is_missing(&self, channel: &Channel, data: &'static [u8]) -> bool {
        let request =
            reapi::FindMissingBlobsRequest { blob_digests: vec![digest_of(data)], ..Default::default() };
        let mut client = ContentAddressableStorageClient::new(channel.clone());
        let answer = self.runtime.block_on(client.find_missing_blobs(request)).unwrap();
        !answer.into_inner().missing_blob_digests.is_empty()
    }
}

/// `ci` and `ci-b` are in order, `other` is somebody else, `gone` was revoked, `late` has expired, `stranger` signed itself.
fn company(folder: &Path) -> Company {
    let corp = Company::new(folder, "corp");
    for name in ["ci", "ci-b", "other"] {
        corp.issue(name, name);
    }
    corp.issue("gone", "ci-gone");
    corp.revoke("gone");
    corp.issue_with("late", "ci-late", "", "-startdate 20200101000000Z -enddate 20200201000000Z");
    corp.stranger("stranger", "ci");
    corp
}

/// The test is the proxy; 127.0.0.2 is somebody else.
#[test]
fn certificate_of_a_company_counts_on_the_word_of_a_proxy_alone() {
    let scene = Scene::new(&format!(
        "anonymous = \"pull\"\nproxies = [\"127.0.0.1\"]\ncertificate_header = \"{HEADER}\""
    ));
    let proxy = scene.channel([127, 0, 0, 1]);
    let ci = scene.certificate("ci");
    assert_eq!(scene.push(&proxy, Some(&ci), b"by ci"), Code::Ok);
    // Clients share a proxy's connection: each call is of whom it says.
    assert_eq!(scene.push(&proxy, None, b"by nobody"), Code::PermissionDenied);
    for name in ["other", "gone", "late", "stranger"] {
        let code = scene.push(&proxy, Some(&scene.certificate(name)), b"refused");
        assert_eq!(code, Code::Unauthenticated, "{name}");
    }
    assert_eq!(scene.push(&proxy, Some("no certificate"), b"refused"), Code::Unauthenticated);
    assert_eq!(scene.push(&proxy, Some(&ci), b"by ci again"), Code::Ok);
    let somebody = scene.channel([127, 0, 0, 2]);
    assert_eq!(scene.push(&somebody, Some(&ci), b"by an impostor"), Code::PermissionDenied);
    assert!(scene.is_missing(&somebody, b"by an impostor") && !scene.is_missing(&somebody, b"by ci"));

    // Revoked from now on, without a restart.
    scene.corp.revoke("ci");
    for _ in 0..600 {
        if scene.push(&proxy, Some(&ci), b"by ci, revoked") == Code::Unauthenticated {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("a revoked certificate counts: {}", scene.server.log());
}

/// Each client behind a proxy has the connections of its own address, and the proxy those of all.
#[test]
fn proxy_protocol_says_whose_a_connection_is() {
    let scene = Scene::new("anonymous = \"push\"\nproxies = [\"127.0.0.1\"]\nproxy_protocol = true");
    let one = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 11001\r\n";
    let other = b"PROXY TCP4 203.0.113.10 127.0.0.1 4711 11001\r\n";
    let kept: Vec<_> = (0..2).map(|_| scene.announced(one).unwrap()).collect();
    for channel in &kept {
        assert_eq!(scene.push(channel, None, b"by one"), Code::Ok);
    }
    let third = scene.announced(one);
    assert!(third.is_err() || scene.push(&third.unwrap(), None, b"by one too many") != Code::Ok);
    assert_eq!(scene.push(&scene.announced(other).unwrap(), None, b"by another"), Code::Ok);
    scene.server.wait_for("203.0.113.9", 1);

    let silent = scene.announced(b"");
    assert!(silent.is_err() || scene.push(&silent.unwrap(), None, b"without a header") != Code::Ok);
    scene.server.wait_for("has no header of the PROXY protocol", 1);
    // Whoever is no proxy speaks for themselves.
    assert_eq!(scene.push(&scene.channel([127, 0, 0, 2]), None, b"directly"), Code::Ok);
}

/// Of several addresses the last one, which is the proxy's own word; and behind a proxy nobody pushes by default.
#[test]
fn address_of_a_client_is_what_a_proxy_says_and_nobody_else() {
    let scene = Scene::new("proxies = [\"127.0.0.1\"]\naddress_header = \"x-forwarded-for\"");
    let proxy = scene.channel([127, 0, 0, 1]);
    let from = |channel: &Channel, values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
        assert_eq!(scene.push_with(channel, &headers, b"denied"), Code::PermissionDenied);
    };
    let said = |address: &str| scene.server.wait_for(&format!("address={address} "), 1);
    from(&proxy, &["198.51.100.1, 203.0.113.9"]);
    said("203.0.113.9");
    from(&proxy, &["198.51.100.1", "2001:db8::9"]);
    said("2001:db8::9");
    from(&proxy, &["somebody"]);
    said("127.0.0.1");
    from(&scene.channel([127, 0, 0, 2]), &["198.51.100.2"]);
    said("127.0.0.2");
    let log = scene.server.log();
    assert!(!log.contains("198.51.100."), "{log}");
}

/// Each identity for itself, and no look-up of a build is more than a miss.
#[test]
fn identity_over_its_quota_is_refused_and_nobody_else() {
    let quota = "[[quota]]\nidentities = \"corp:ci-b\"\nupload_per_day = \"3KB\"\n\
                 [[quota]]\nidentities = \"corp:*\"\nrequests_per_minute = 5";
    let scene = Scene::new(&format!(
        "anonymous = \"push\"\nproxies = [\"127.0.0.1\"]\ncertificate_header = \"{HEADER}\"\n{quota}"
    ));
    let proxy = scene.channel([127, 0, 0, 1]);
    let (ci, other) = (scene.certificate("ci"), scene.certificate("ci-b"));
    for _ in 0..5 {
        assert_eq!(scene.push(&proxy, Some(&ci), b"in time"), Code::Ok);
    }
    assert_eq!(scene.push(&proxy, Some(&ci), b"too soon"), Code::ResourceExhausted);
    for _ in 0..10 {
        assert_eq!(scene.push(&proxy, Some(&other), b"small"), Code::Ok);
    }
    assert_eq!(scene.push(&proxy, Some(&other), &[1; 3000]), Code::Ok);
    assert_eq!(scene.push(&proxy, Some(&other), b"on top"), Code::ResourceExhausted);
    assert_eq!(scene.push(&proxy, None, b"by somebody"), Code::Ok);
    scene.server.wait_for("an identity is over its quota", 1);
}

#[test]
fn writes_without_the_right_to_are_dropped_where_that_is_said() {
    let scene = Scene::new("allow = \"pull\"\ndenied_writes = \"drop\"");
    let channel = scene.channel([127, 0, 0, 1]);
    assert_eq!(scene.push(&channel, None, b"a log"), Code::Ok);
    assert!(scene.is_missing(&channel, b"a log"));
    scene.server.wait_for("a write was taken and dropped", 1);

    let data = Bytes::from_static(&[7; 3_000_000]);
    let hash = digest_of(&data).hash;
    let messages: Vec<_> = (0..3_u8)
        .map(|number| WriteRequest {
            resource_name: format!("uploads/x/blobs/{hash}/3000000"),
            write_offset: i64::from(number) * 1_000_000,
            finish_write: number == 2,
            data: data.slice(usize::from(number) * 1_000_000..(usize::from(number) + 1) * 1_000_000),
        })
        .collect();
    let mut bytestream = ByteStreamClient::new(channel.clone());
    let written = scene.runtime.block_on(bytestream.write(tokio_stream::iter(messages))).unwrap();
    assert_eq!(written.into_inner().committed_size, 3_000_000);

    let mut push = PushClient::new(channel);
    let mut named = |uris: &[&str]| {
        let uris = uris.iter().map(ToString::to_string).collect();
        let request = PushBlobRequest { uris, blob_digest: Some(digest_of(b"a log")), ..Default::default() };
        scene.runtime.block_on(push.push_blob(request)).map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(named(&[]), Code::InvalidArgument);
    assert_eq!(named(&["urn:example:log"]), Code::Ok);
    let mut refused = Request::new(reapi::BatchUpdateBlobsRequest::default());
    refused.metadata_mut().insert("authorization", "Bearer mp_00000000_x".parse().unwrap());
    let mut client = ContentAddressableStorageClient::new(scene.channel([127, 0, 0, 1]));
    let answer = scene.runtime.block_on(client.batch_update_blobs(refused));
    assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
}
