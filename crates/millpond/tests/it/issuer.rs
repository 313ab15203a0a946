//! An issuer of JSON web tokens, as GitLab or GitHub is one: HTTPS with a CA of its own, discovery, keys that change, and
//! tokens of any kind. It can be stopped, and counts what is fetched from it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millpond_cache::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What tokens have to be for.
pub(crate) const AUDIENCE: &str = "https://cache.example.org";
const CONFIGURATION: &str = "/.well-known/openid-configuration";

/// An issuer that runs until it is stopped.
pub(crate) struct Issuer {
    folder: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct State {
    keys: Mutex<Vec<Value>>,
    /// What it answers instead of its keys.
    instead: Mutex<Option<String>>,
    fetches: AtomicUsize,
}

/// A key that tokens are signed with.
pub(crate) struct Key {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Key {
    /// A new one with this ID, for RS256.
    pub(crate) fn rsa(id: &str) -> Self {
        let key = EncodingKey::from_rsa_der(&openssl(
            "openssl genrsa 2048 | openssl rsa -traditional -outform DER",
        ));
        Self { id: id.into(), algorithm: Algorithm::RS256, key }
    }

    /// A new one with this ID, for ES256.
    pub(crate) fn ecdsa(id: &str) -> Self {
        let made = openssl(
            "openssl ecparam -genkey -noout -name prime256v1 | openssl pkcs8 -topk8 -nocrypt -outform DER",
        );
        Self { id: id.into(), algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&made) }
    }

    /// Its public part.
    pub(crate) fn public(&self) -> Value {
        let mut key =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    /// A token.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.id, claims)
    }

    /// A token that says to be signed with the key of this ID.
    pub(crate) fn sign_as(&self, id: &str, claims: &Value) -> String {
        let header = Header { kid: Some(id.into()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn openssl(line: &str) -> Vec<u8> {
    let made = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(!made.stdout.is_empty(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// The time, in Unix seconds.
pub(crate) fn now() -> u64 {
    Clock::unix_seconds()
}

/// What ends TLS as this certificate, for clients that ask for one of these protocols (ALPN).
pub(crate) fn acceptor([certificate, key]: [PathBuf; 2], protocols: &[&str]) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl Issuer {
    /// One that publishes these keys.
    pub(crate) fn start(keys: &[&Key]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let init = Command::new(env!("CARGO_BIN_EXE_millpond"))
            .args(["keys", "init", "127.0.0.1", "--keys", "keys"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut issuer = Self { folder, address, state: Arc::default(), runtime: None };
        issuer.publish(keys);
        issuer.start_again();
        issuer
    }

    /// Starts it where it was, after [`Issuer::stop`].
    pub(crate) fn start_again(&mut self) {
        let runtime = Runtime::new().unwrap();
        let acceptor = acceptor([self.file("server.crt"), self.file("server.key")], &[]);
        let listener = runtime.block_on(TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let (state, url) = (Arc::clone(&self.state), self.url());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(acceptor.clone(), stream, Arc::clone(&state), url.clone()));
            }
        });
        self.runtime = Some(runtime);
    }

    /// Nobody reaches it any more.
    pub(crate) fn stop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// From now on it publishes these keys alone.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        *self.state.keys.lock().unwrap() = keys.iter().map(|key| key.public()).collect();
    }

    /// From now on its keys are answered with this.
    pub(crate) fn answer_instead(&self, answer: &str) {
        *self.state.instead.lock().unwrap() = Some(answer.to_owned());
    }

    /// How often its keys were fetched.
    pub(crate) fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// As its tokens name it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// What it is configured with, with these grants; more keys of it first.
    pub(crate) fn configuration(&self, more: &str, grants: &str) -> String {
        let (url, ca) = (self.url(), self.file("ca.crt").display().to_string());
        format!(
            "[[issuer]]\nname = \"gitlab\"\nurl = \"{url}\"\naudience = \"{AUDIENCE}\"\nca = \"{ca}\"\n{more}\n{grants}\n"
        )
    }

    /// What a token of a job on a protected branch of team/app claims.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.url(),
            "aud": AUDIENCE,
            "sub": "project_path:team/app:ref_type:branch:ref:main",
            "project_path": "team/app",
            "ref_protected": "true",
            "job_id": 42,
            "iat": now(),
            "nbf": now() - 5,
            "exp": now() + 300,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.folder.path().join("keys").join(name)).unwrap()
    }
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>, url: String) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let answer = match request.split(' ').nth(1) {
        Some(CONFIGURATION) => ok(&json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })),
        Some("/keys") => {
            state.fetches.fetch_add(1, Ordering::SeqCst);
            let instead = state.instead.lock().unwrap().clone();
            instead.unwrap_or_else(|| ok(&json!({ "keys": *state.keys.lock().unwrap() })))
        }
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    // Whoever has gone needs no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn ok(json: &Value) -> String {
    let body = json.to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
