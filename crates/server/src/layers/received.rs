//! A request's body: counted as it passes, and ended with a reason if a message is too large or nothing comes any more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower::BoxError;

use super::framing::Framing;
use super::record::Record;
use crate::status;

/// The largest message that is taken. Clients send batches of 4 MiB and a little more; gRPC's own limit is 4 MiB sharp.
const MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// How long a request may go on without a byte.
const IDLE: Duration = Duration::from_secs(300);

/// A request's body.
pub(crate) struct Received<B> {
    body: B,
    framing: Option<Framing>,
    /// Set while there is nothing to read.
    idle: Option<Pin<Box<Sleep>>>,
    record: Arc<Record>,
}

impl<B> Received<B> {
    /// Watches `body`, which is framed as gRPC does or not, for `record`.
    pub(crate) fn new(body: B, grpc: bool, record: Arc<Record>) -> Self {
        Self { body, framing: grpc.then(Framing::default), idle: None, record }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), BoxError> {
        self.record.add_received(data.len());
        let longest = self.framing.as_mut().map_or(0, |framing| framing.longest(data));
        if longest > MESSAGE_BYTES_MAX {
            return Err(status::message_too_large(longest.into(), MESSAGE_BYTES_MAX).into());
        }
        Ok(())
    }
}

impl<B> Body for Received<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                let idle = self.idle.get_or_insert_with(|| Box::pin(sleep(IDLE)));
                idle.as_mut().poll(context).map(|()| Some(Err(status::idle(IDLE).into())))
            }
            Poll::Ready(frame) => {
                self.idle = None;
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    self.take(data)?;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
