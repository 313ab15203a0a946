//! Fetches a small document: one GET on a connection of its own, without redirects, within a time and a size.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
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

use super::Location;
use crate::trust;

/// How long one document may take, from the look-up of its host on.
pub(super) const TIME: Duration = Duration::from_secs(10);
/// The largest document. Those of GitLab and GitHub have a few KiB.
const BYTES_MAX: usize = 256 * 1024;

/// Trusts those that it was given, or those whom the system trusts.
pub(super) struct Client(Option<Arc<ClientConfig>>);

impl Client {
    /// With authorities in PEM, or without, for those of the system.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self, String> {
        let Some(pem) = authorities else { return Ok(Self(None)) };
        Ok(Self(Some(Arc::new(trusting(trust::given(pem)?)?))))
    }

    /// The document at that place.
    ///
    /// # Errors
    /// Why there is none, with the place.
    pub(super) async fn get(&self, location: &Location) -> Result<Vec<u8>, String> {
        let got = timeout(TIME, self.try_get(location)).await;
        let late = || Err(format!("it took longer than {} s", TIME.as_secs()));
        got.unwrap_or_else(|_| late()).map_err(|error| format!("{location}: {error}"))
    }

    async fn try_get(&self, location: &Location) -> Result<Vec<u8>, String> {
        let stream = TcpStream::connect((location.host.as_str(), location.port)).await;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        if !location.tls {
            return exchange(stream, location).await;
        }
        let name = ServerName::try_from(location.host.clone()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(self.tls().await?);
        let stream = connector.connect(name, stream).await;
        exchange(stream.map_err(|error| format!("no TLS: {error}"))?, location).await
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
) -> Result<Vec<u8>, String> {
    let failed = |error: hyper::Error| format!("no answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(&location.path)
        .header(HOST, &location.authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("millpond/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
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

async fn read(answer: Response<Incoming>) -> Result<Vec<u8>, String> {
    let status = answer.status();
    if status.is_redirection() {
        return Err(format!(
            "it answers {status}, and redirections are not followed: give the URL that it leads to"
        ));
    }
    if status != StatusCode::OK {
        return Err(format!("it answers {status}"));
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > BYTES_MAX {
            return Err(format!("the answer is larger than {} KiB", BYTES_MAX / 1024));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
