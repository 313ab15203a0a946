//! Tokens over the wire: who is known, and from when on no more.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::battery::Blob;
use crate::issued::Keys;
use crate::server::Server;

/// Keys, and a server that serves nobody who is not known.
struct Pond {
    keys: Keys,
    runtime: Runtime,
}

const CONFIGURATION: &str = "[identity]\nkeys = \"keys\"\nauthorized = \"authorized.crt\"\n\
                             [[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = \"none\"\n";

impl Pond {
    fn new() -> Self {
        let pond = Self { keys: Keys::new(), runtime: Runtime::new().unwrap() };
        fs::write(pond.path("millpond.toml"), CONFIGURATION).unwrap();
        fs::write(pond.path("authorized.crt"), "").unwrap();
        pond
    }

    fn path(&self, file: &str) -> PathBuf {
        self.keys.folder().join(file)
    }

    fn token(&self, name: &str, rights: &str) -> String {
        self.keys.run(&["tokens", "issue", name, rights]).trim().to_owned()
    }

    fn serve(&self) -> Server {
        let path = self.path("millpond.toml");
        Server::start_where_configured(&["--config", path.to_str().unwrap()])
    }

    /// What a push of something new comes to.
    fn push(&self, server: &Server, authorization: Option<&str>, data: &'static [u8]) -> Code {
        let pushed = push(&self.runtime, server, authorization, data);
        pushed.map_or_else(|status| status.code(), |()| Code::Ok)
    }
}

/// Pushes a blob to a server without TLS.
pub(crate) fn push(
    runtime: &Runtime,
    server: &Server,
    authorization: Option<&str>,
    data: &'static [u8],
) -> Result<(), Status> {
    let mut request = Request::new(Blob::new(data).update());
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    let url = server.url().to_owned();
    runtime.block_on(async {
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        ContentAddressableStorageClient::new(channel).batch_update_blobs(request).await.map(drop)
    })
}

#[test]
fn token_says_who_may_push() {
    let pond = Pond::new();
    let (ci, reader) = (pond.token("ci", "--push"), pond.token("reader", "--pull"));
    let server = pond.serve();
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(pond.push(&server, Some(&bearer(&ci)), b"by ci"), Code::Ok);
    assert_eq!(pond.push(&server, Some(&bearer(&reader)), b"by a reader"), Code::PermissionDenied);
    for nobody in [None, Some("Bearer "), Some("Bearer mp_00000000_x"), Some("Digest x"), Some(ci.as_str())] {
        assert_eq!(pond.push(&server, nobody, b"by nobody"), Code::Unauthenticated, "{nobody:?}");
    }
    // The first refusal from that address, before nobody's.
    server.wait_for("denied", 1);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("denied")).unwrap();
    for part in ["identity=\"reader\"", "address=127.0.0.1", "method=\"BatchUpdateBlobs\"", "may not push"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for token in [&ci, &reader] {
        // The secret may hold the character that stands before it.
        let secret = token.splitn(3, '_').nth(2).unwrap();
        assert!(secret.len() == 43 && !log.contains(secret), "a secret is in the log");
    }
}

/// Whatever else cannot be read: who was revoked is out.
#[test]
fn revoked_token_is_out_though_another_file_cannot_be_read() {
    let pond = Pond::new();
    let ci = format!("Bearer {}", pond.token("ci", "--push"));
    let server = pond.serve();
    assert_eq!(pond.push(&server, Some(&ci), b"before"), Code::Ok);
    fs::remove_file(pond.path("authorized.crt")).unwrap();
    pond.keys.run(&["tokens", "revoke", "ci"]);
    for _ in 0..600 {
        if pond.push(&server, Some(&ci), b"after") == Code::Unauthenticated {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("a revoked token is known: {}", server.log());
}
