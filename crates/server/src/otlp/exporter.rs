//! The tasks that send: one for spans, one for figures. Each message has a deadline, and what comes to nothing is not sent again.

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Cache, Clock, now_and_then};
use millpond_proto::otlp::metrics::{Metric, ResourceMetrics, ScopeMetrics};
use millpond_proto::otlp::metrics_service::ExportMetricsServiceRequest;
use millpond_proto::otlp::metrics_service::metrics_service_client::MetricsServiceClient;
use millpond_proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use millpond_proto::otlp::trace_service::ExportTraceServiceRequest;
use millpond_proto::otlp::trace_service::trace_service_client::TraceServiceClient;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response};

use super::points::{self, Times};
use super::spans::Spans;
use super::{Otlp, scope};
use crate::metrics::{Format, Metrics};
use crate::upstream::calls::said;
use crate::upstream::{Wanted, channel};

/// Spans that wait to be sent.
const QUEUE: usize = 2048;
/// The most spans in one message.
const BATCH: usize = 512;
/// For how long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// How long sending a message may take.
const SEND: Duration = Duration::from_secs(10);
/// How long what is left may take at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// The tasks, until the server has ended.
#[derive(Debug)]
pub(crate) struct Exporter {
    tasks: JoinSet<()>,
    end: watch::Sender<bool>,
    spans: Option<Spans>,
}

impl Exporter {
    /// Starts telling.
    pub(crate) fn start(otlp: &Otlp, cache: &Arc<Cache>, metrics: &Arc<Metrics>) -> Self {
        let (end, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let link = || Link { otlp: otlp.clone(), channel: None, metrics: Arc::clone(metrics) };
        let spans = otlp.traces.then(|| {
            let (queue, spans) = mpsc::channel(QUEUE);
            tasks.spawn(link().send_spans(spans, ended.clone()));
            Spans { queue, sample: otlp.sample, dropped: metrics.spans_dropped.clone() }
        });
        if otlp.metrics {
            tasks.spawn(link().send_figures(Arc::clone(cache), ended));
        }
        Self { tasks, end, spans }
    }

    /// Where spans go, if any are wanted.
    pub(crate) fn spans(&self) -> Option<Spans> {
        self.spans.clone()
    }

    /// Sends what is left, if that is soon done.
    pub(crate) async fn finish(mut self) {
        self.spans = None;
        self.end.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(FLUSH, all).await.is_err() {
            tracing::warn!("the receiver of OTLP did not take what was left within {} s", FLUSH.as_secs());
        }
    }
}

/// One task's way to the receiver.
struct Link {
    otlp: Otlp,
    channel: Option<Channel>,
    metrics: Arc<Metrics>,
}

impl Link {
    async fn send_spans(mut self, mut queue: mpsc::Receiver<Span>, mut ended: watch::Receiver<bool>) {
        loop {
            let mut spans = Vec::new();
            tokio::select! {
                // What waits is taken whatever comes; nothing more is.
                _ = ended.wait_for(|ended| *ended) => queue.close(),
                _ = queue.recv_many(&mut spans, BATCH) => {}
            }
            let until = Instant::now() + GATHER;
            while spans.len() < BATCH {
                let left = BATCH - spans.len();
                let end = ended.wait_for(|ended| *ended);
                let more = tokio::select! {
                    biased;
                    more = timeout_at(until, queue.recv_many(&mut spans, left)) => more.unwrap_or(0),
                    _ = end => {
                        queue.close();
                        continue;
                    }
                };
                if more == 0 {
                    break;
                }
            }
            if spans.is_empty() {
                if queue.is_closed() {
                    return;
                }
                continue;
            }
            let count = spans.len() as u64;
            if self.send_batch(spans).await {
                self.metrics.spans_sent.inc_by(count);
            } else {
                self.metrics.spans_dropped.inc_by(count);
            }
        }
    }

    async fn send_batch(&mut self, spans: Vec<Span>) -> bool {
        let scope_spans = vec![ScopeSpans { scope: scope(), spans }];
        let resource_spans = vec![ResourceSpans { resource: Some(self.otlp.resource()), scope_spans }];
        let message = ExportTraceServiceRequest { resource_spans };
        self.send(message, async |channel, request| TraceServiceClient::new(channel).export(request).await)
            .await
    }

    async fn send_figures(mut self, cache: Arc<Cache>, mut ended: watch::Receiver<bool>) {
        let start = Clock::unix_nanoseconds();
        loop {
            let last = tokio::select! {
                _ = ended.wait_for(|ended| *ended) => true,
                () = sleep(self.otlp.interval) => false,
            };
            let (cache, metrics) = (Arc::clone(&cache), Arc::clone(&self.metrics));
            // Figures may ask the disk, which may take its time.
            let page = spawn_blocking(move || metrics.render(&cache.figures(), Format::OpenMetrics)).await;
            if let Ok(Ok(page)) = page {
                let times = Times { start, now: Clock::unix_nanoseconds() };
                self.send_metrics(points::of(&page, times)).await;
            }
            if last {
                return;
            }
        }
    }

    async fn send_metrics(&mut self, metrics: Vec<Metric>) -> bool {
        let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics }];
        let resource_metrics = vec![ResourceMetrics { resource: Some(self.otlp.resource()), scope_metrics }];
        let message = ExportMetricsServiceRequest { resource_metrics };
        self.send(message, async |channel, request| MetricsServiceClient::new(channel).export(request).await)
            .await
    }

    /// Whether it was taken. If not, the log says why now and then.
    async fn send<M, A>(
        &mut self,
        message: M,
        call: impl AsyncFnOnce(Channel, Request<M>) -> Result<Response<A>, tonic::Status>,
    ) -> bool {
        let why = match timeout(SEND, self.try_to_send(message, call)).await {
            Ok(Ok(())) => return true,
            Ok(Err(why)) => why,
            Err(_) => format!("it is silent for {} s", SEND.as_secs()),
        };
        // Another connection may do better.
        self.channel = None;
        self.metrics.otlp_failures.inc();
        now_and_then!(warn, why, "the receiver of OTLP did not take what was sent");
        false
    }

    async fn try_to_send<M, A>(
        &mut self,
        message: M,
        call: impl AsyncFnOnce(Channel, Request<M>) -> Result<Response<A>, tonic::Status>,
    ) -> Result<(), String> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let wanted = Wanted { ca_pem: self.otlp.ca_pem.clone(), ..Wanted::default() };
                let channel = channel::to(&self.otlp.address, &wanted).await?;
                self.channel.insert(channel).clone()
            }
        };
        let mut request = Request::new(message);
        let headers = self.otlp.headers.iter().cloned().collect();
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        call(channel, request).await.map(drop).map_err(|status| said(&status))
    }
}
