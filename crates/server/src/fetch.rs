//! Small documents of other servers: one request on a connection of its own, without redirects, within a time and a size.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::location::Location;
use crate::trust;

/// How long one document may take, from the look-up of its host on.
pub(crate) const TIME: Duration = Duration::from_secs(10);
/// The largest document. Those of GitLab and GitHub have a few KiB, and chains of certificates too.
const BYTES_MAX: usize = 256 * 1024;

/// Trusts those that it was given, or those whom the system trusts.
#[derive(Clone)]
pub(crate) struct Client(Option<Arc<ClientConfig>>);

impl Client {
    /// With authorities in PEM, or without, for those of the system.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new(authorities: Option<&[u8]>) -> Result<Self, String> {
        let Some(pem) = authorities else { return Ok(Self(None)) };
        Ok(Self(Some(Arc::new(trusting(trust::given(pem)?)?))))
    }

    /// The document at that place.
    ///
    /// # Errors
    /// Why there is none, with the place.
    pub(crate) async fn get(&self, location: &Location) -> Result<Vec<u8>, String> {
        let failed = |error: String| format!("{location}: {error}");
        let request = Request::get(&location.path).header(ACCEPT, "application/json").body(Body::empty());
        let answer = self.send(location, request.map_err(|error| failed(error.to_string()))?).await?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(failed(format!(
                "it answers {status}, and redirections are not followed: give the URL that it leads to"
            )));
        }
        if status != StatusCode::OK {
            return Err(failed(format!("it answers {status}")));
        }
        Ok(answer.into_body())
    }

    /// What that place answers to this request, whatever it is.
    ///
    /// # Errors
    /// Why there is no answer, with the place.
    pub(crate) async fn send(
        &self,
        location: &Location,
        request: Request<Body>,
    ) -> Result<Response<Vec<u8>>, String> {
        let got = timeout(TIME, self.try_send(location, request)).await;
        let late = || Err(format!("it took longer than {} s", TIME.as_secs()));
        got.unwrap_or_else(|_| late()).map_err(|error| format!("{location}: {error}"))
    }

    async fn try_send(
        &self,
        location: &Location,
        request: Request<Body>,
    ) -> Result<Response<Vec<u8>>, String> {
        let stream = TcpStream::connect((location.host.as_str(), location.port)).await;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        if !location.tls {
            return exchange(stream, location, request).await;
        }
        let name = ServerName::try_from(location.host.clone()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(self.tls().await?);
        let stream = connector.connect(name, stream).await;
        exchange(stream.map_err(|error| format!("no TLS: {error}"))?, location, request).await
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        match &self.0 {
            Some(config) => Ok(Arc::clone(config)),
            // Files are read for it.
            None => tokio::task::spawn_blocking(of_the_system).await.map_err(|error| error.to_string())?,
        }
    }
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, String> {
    Ok(trust::tls(roots)?.with_no_client_auth())
}

/// Read once: a system whose authorities change is started anew.
fn of_the_system() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let read = || trusting(trust::of_the_system()?).map(Arc::new);
    CONFIG.get_or_init(read).clone()
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    location: &Location,
    request: Request<Body>,
) -> Result<Response<Vec<u8>>, String> {
    let failed = |error: hyper::Error| format!("no answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let (mut head, body) = request.into_parts();
    head.uri = location.path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = HeaderValue::from_str(&location.authority).map_err(|error| error.to_string())?;
    head.headers.insert(HOST, host);
    let agent = HeaderValue::from_static(concat!("millpond/", env!("CARGO_PKG_VERSION")));
    head.headers.insert(USER_AGENT, agent);
    let request = Request::from_parts(head, body);
    let answer = async { read(sender.send_request(request).await.map_err(failed)?).await };
    // It is done when the answer is, not when the connection is.
    let drive = async {
        let _ = connection.await;
        pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = drive => never,
    }
}

async fn read(answer: Response<Incoming>) -> Result<Response<Vec<u8>>, String> {
    let (head, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > BYTES_MAX {
            return Err(format!("the answer is larger than {} KiB", BYTES_MAX / 1024));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Response::from_parts(head, bytes))
}
