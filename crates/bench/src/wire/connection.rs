//! One HTTP/2 connection, with one call at a time on it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::is_resumed;
use super::{Call, Server, reply};
use crate::failure::Failure;

/// No call takes longer unless the server hangs.
const CALL_MAX: Duration = Duration::from_secs(120);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What the server may send before we have read it: gRPC's C++ clients come to as much on a fast link.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// The largest frame we take: the same clients ask for frames of up to their window.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// Where a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// On the connection that there is.
    Kept,
    /// On a new one, with a whole handshake.
    Anew,
    /// On a new one that takes up the TLS session of the last.
    Resumed,
}

/// A connection that is made again when the server has ended it.
pub(crate) struct Connection {
    server: Server,
    sender: Option<SendRequest<Bytes>>,
}

/// One that was just made.
struct Opened {
    sender: SendRequest<Bytes>,
    /// Whether it took up a TLS session.
    resumed: bool,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(server: &Server) -> Result<Self, Failure> {
        let mut server = server.clone();
        server.tls = server.tls.map(|tls| tls.apart());
        let sender = Some(connect(&server).await?.sender);
        Ok(Self { server, sender })
    }

    /// Ends the connection and opens another, if that is asked for.
    pub(crate) async fn reopen(&mut self, opening: Opening) -> Result<(), Failure> {
        if opening == Opening::Kept {
            return Ok(());
        }
        self.sender = None;
        if let (Opening::Anew, Some(tls)) = (opening, &mut self.server.tls) {
            tls.forget();
        }
        let Opened { sender, resumed } = connect(&self.server).await?;
        self.sender = Some(sender);
        if opening == Opening::Resumed && !resumed {
            return Err(Failure::not_offered("no TLS session was resumed"));
        }
        Ok(())
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
        let sender = connect(&self.server).await?.sender;
        Ok(self.sender.insert(sender).clone())
    }

    fn request(&self, method: &'static str) -> Result<Request<()>, Failure> {
        let uri = Uri::builder()
            .scheme(self.server.target.scheme())
            .authority(self.server.target.authority().clone())
            .path_and_query(PathAndQuery::from_static(method))
            .build();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri.map_err(|error| Failure::unreachable(error.to_string()))?)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(
                USER_AGENT,
                HeaderValue::from_static(concat!("millpond-bench/", env!("CARGO_PKG_VERSION"))),
            )
            .body(())
            .map_err(|error| Failure::unreachable(error.to_string()))?;
        if let Some(value) = &self.server.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        Ok(request)
    }
}

async fn connect(server: &Server) -> Result<Opened, Failure> {
    let opened = timeout(CONNECT_MAX, async {
        let stream = match server.at {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect(server.target.address()).await?,
        };
        stream.set_nodelay(true)?;
        let Some(tls) = &server.tls else {
            return Ok(Opened { sender: start(stream).await?, resumed: false });
        };
        let stream = tls.connect(stream).await?;
        let resumed = is_resumed(&stream);
        Ok(Opened { sender: start(stream).await?, resumed })
    });
    opened
        .await
        .unwrap_or_else(|_| Err(Failure::unreachable(format!("no connection within {CONNECT_MAX:?}"))))
}

/// Begins HTTP/2.
async fn start(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Bytes>, Failure> {
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

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::unreachable(error.to_string())
    }
}
