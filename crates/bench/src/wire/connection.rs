//! One HTTP/2 connection, with one call at a time on it.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Method, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Call, Target, reply};
use crate::failure::Failure;

/// No call takes longer unless the server hangs.
const CALL_MAX: Duration = Duration::from_secs(120);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What the server may send before we have read it: gRPC's C++ clients come to as much on a fast link.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// The largest frame we take: the same clients ask for frames of up to their window.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// A connection that is made again when the server has ended it.
pub(crate) struct Connection {
    target: Target,
    sender: Option<SendRequest<Bytes>>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: &Target) -> Result<Self, Failure> {
        let sender = connect(target).await?;
        Ok(Self { target: target.clone(), sender: Some(sender) })
    }

    /// Makes a call and holds its answer against what was expected.
    pub(crate) async fn call(&mut self, call: &Call) -> Result<(), Failure> {
        call.expect.check(self.ask(call).await?)
    }

    /// Makes a call and returns the messages of its answer.
    pub(crate) async fn ask(&mut self, call: &Call) -> Result<Vec<Bytes>, Failure> {
        let answered = timeout(CALL_MAX, self.exchange(call)).await;
        answered.unwrap_or_else(|_| Err(Failure::late(format!("no answer within {CALL_MAX:?}"))))
    }

    async fn exchange(&mut self, call: &Call) -> Result<Vec<Bytes>, Failure> {
        let request = self.request(call.method)?;
        let mut sender = self.sender().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        let last = call.frames.len().saturating_sub(1);
        for (number, frame) in call.frames.iter().enumerate() {
            // A server may answer, and close the stream, before it was sent everything: the answer counts.
            if stream.send_data(frame.clone(), number == last).is_err() {
                break;
            }
        }
        reply::read(response.await?, &call.expect).await
    }

    /// A place for one more call, on a new connection if the old one is at its end.
    async fn sender(&mut self) -> Result<SendRequest<Bytes>, Failure> {
        if let Some(sender) = self.sender.take()
            && let Ok(ready) = sender.ready().await
        {
            return Ok(self.sender.insert(ready).clone());
        }
        let sender = connect(&self.target).await?;
        Ok(self.sender.insert(sender).clone())
    }

    fn request(&self, method: &'static str) -> Result<Request<()>, Failure> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.target.authority().clone())
            .path_and_query(PathAndQuery::from_static(method))
            .build();
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.map_err(|error| Failure::unreachable(error.to_string()))?)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(
                USER_AGENT,
                HeaderValue::from_static(concat!("millpond-bench/", env!("CARGO_PKG_VERSION"))),
            )
            .body(());
        request.map_err(|error| Failure::unreachable(error.to_string()))
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Bytes>, Failure> {
    let (host, port) = target.address();
    let stream = timeout(CONNECT_MAX, TcpStream::connect((host, port))).await;
    let stream = stream.map_err(|_| Failure::unreachable(format!("no connection within {CONNECT_MAX:?}")))?;
    let stream = stream.map_err(|error| Failure::unreachable(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| Failure::unreachable(error.to_string()))?;
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .handshake(stream)
        .await?;
    // How it ends is told to the calls on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::unreachable(error.to_string())
    }
}
