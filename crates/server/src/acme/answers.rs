//! Answers to an authority's challenges: by a certificate in a handshake, or a document at port 80.
//!
//! **Invariant:** a listener for documents answers with what the authority is to find there, and with nothing else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Where the authority looks (RFC 8555, section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// Who may ask at the same time, and for how long.
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(3);
/// How long to wait after a failed accept.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What is answered while an order is under way. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<RwLock<Of>>);

#[derive(Debug, Default)]
struct Of {
    certificates: HashMap<String, Arc<CertifiedKey>>,
    tokens: HashMap<String, String>,
}

impl Answers {
    pub(super) fn add_certificate(&self, name: &str, certificate: Arc<CertifiedKey>) {
        self.write(|of| of.certificates.insert(asked_for(name), certificate));
    }

    pub(super) fn add_token(&self, token: &str, authorization: &str) {
        self.write(|of| of.tokens.insert(token.to_owned(), authorization.to_owned()));
    }

    /// Nothing is answered any more.
    pub(super) fn forget(&self) {
        self.write(|of| *of = Of::default());
    }

    fn write<T>(&self, change: impl FnOnce(&mut Of) -> T) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The certificate that answers for a name.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let of = self.0.read().unwrap_or_else(PoisonError::into_inner);
        of.certificates.get(&name.to_ascii_lowercase()).cloned()
    }

    fn document(&self, path: &str) -> Option<String> {
        let of = self.0.read().unwrap_or_else(PoisonError::into_inner);
        of.tokens.get(path.strip_prefix(PATH)?).cloned()
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let found = if request.method() == Method::GET { self.document(request.uri().path()) } else { None };
        let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(found.map_or_else(Body::empty, Body::from));
        *response.status_mut() = status;
        let kind = http::HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// The name in the handshake that asks for it: an address has one too (RFC 8738, section 6).
fn asked_for(name: &str) -> String {
    let reversed = |parts: Vec<String>, zone| {
        let parts: Vec<_> = parts.into_iter().rev().collect();
        format!("{}.{zone}", parts.join("."))
    };
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            reversed(address.octets().iter().map(u8::to_string).collect(), "in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
            reversed(nibbles.map(|nibble| format!("{nibble:x}")).collect(), "ip6.arpa")
        }
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// Answers at this socket, for as long as it is polled.
///
/// # Errors
/// That it cannot be listened on.
pub async fn listen(socket: TcpListener, answers: Answers) -> io::Result<Infallible> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
        let Ok((stream, _)) = socket.accept().await else {
            sleep(AFTER_FAILURE).await;
            continue;
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            // Whoever is slow, or speaks something else, is let go.
            let _ = timeout(TIME, serve(stream, answers)).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, answers: Answers) -> hyper::Result<()> {
    let answer = service_fn(move |request| {
        let response = answers.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(8192)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn addresses_are_asked_for_by_names_of_theirs() {
        assert_eq!(asked_for("Cache.Example.org"), "cache.example.org");
        assert_eq!(asked_for("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(asked_for("2001:db8::1"), nibbles);
    }

    #[tokio::test]
    async fn nothing_is_told_but_what_the_authority_is_to_find() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answers = Answers::default();
        answers.add_token("token", "token.thumbprint");
        let listening = tokio::spawn(listen(socket, answers.clone()));
        let ask = async |line: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let found = ask("GET /.well-known/acme-challenge/token").await;
        assert!(found.starts_with("HTTP/1.1 200 ") && found.ends_with("\r\n\r\ntoken.thumbprint"), "{found}");
        for line in [
            "GET /.well-known/acme-challenge/",
            "GET /.well-known/acme-challenge/other",
            "GET /token",
            "GET /",
            "POST /.well-known/acme-challenge/token",
        ] {
            assert!(ask(line).await.starts_with("HTTP/1.1 404 "), "{line}");
        }
        answers.forget();
        assert!(ask("GET /.well-known/acme-challenge/token").await.starts_with("HTTP/1.1 404 "));
        listening.abort();
    }
}
