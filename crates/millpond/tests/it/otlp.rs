//! What a receiver of OTLP is told: spans of calls and the figures of the metrics page. One that is away or hangs disturbs nobody.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use millpond_proto::otlp::common::KeyValue;
use millpond_proto::otlp::common::any_value::Value;
use millpond_proto::otlp::metrics::metric::Data;
use millpond_proto::otlp::metrics::number_data_point::Value as Figure;
use millpond_proto::otlp::metrics_service::metrics_service_server::{MetricsService, MetricsServiceServer};
use millpond_proto::otlp::metrics_service::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use millpond_proto::otlp::trace::Span;
use millpond_proto::otlp::trace_service::trace_service_server::{TraceService, TraceServiceServer};
use millpond_proto::otlp::trace_service::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use millpond_proto::reapi::{BatchReadBlobsRequest, RequestMetadata, ToolDetails};
use prost::Message as _;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status, async_trait};

use crate::battery::Blob;
use crate::issued::Keys;
use crate::issuer::acceptor;
use crate::server::Server;
use crate::watch::page::Page;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";
/// How often something is looked for that is to come, four times a second.
const LOOKS: usize = 240;

/// A receiver that keeps what it is sent.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    headers: Vec<MetadataMap>,
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

#[async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.lock().unwrap();
        received.headers.push(request.metadata().clone());
        received.traces.push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().unwrap().metrics.push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

impl Receiver {
    fn serve(&self, runtime: &Runtime) -> SocketAddr {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(self.clone()))
                .add_service(MetricsServiceServer::new(self.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(server);
            address
        })
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.0.lock().unwrap();
        let resources = received.traces.iter().flat_map(|message| &message.resource_spans);
        let spans = resources.flat_map(|of| &of.scope_spans).flat_map(|scope| &scope.spans);
        spans.cloned().collect()
    }

    /// The sum of a counter in the last message.
    fn counter(&self, name: &str) -> Option<i64> {
        let received = self.0.lock().unwrap();
        let scopes = received.metrics.last()?.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
        let metric = scopes.flat_map(|scope| &scope.metrics).find(|metric| metric.name == name)?;
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        let figures = sum.data_points.iter().map(|point| match point.value {
            Some(Figure::AsInt(figure)) => figure,
            ref other => panic!("{other:?}"),
        });
        Some(figures.sum())
    }
}

/// What ends TLS before that receiver, as these keys.
fn tls_before(receiver: SocketAddr, keys: &Keys, runtime: &Runtime) -> SocketAddr {
    let acceptor = acceptor(["server.crt", "server.key"].map(|file| keys.path().join(file)), &["h2"]);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (outside, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever does not trust the certificate ends the handshake.
                    let Ok(mut outside) = acceptor.accept(outside).await else { return };
                    let mut inside = tokio::net::TcpStream::connect(receiver).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await);
                });
            }
        });
        address
    })
}

/// Looks until it is there.
#[track_caller]
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(250));
    }
    panic!("{what} did not come")
}

fn attribute<'s>(attributes: &'s [KeyValue], key: &str) -> Option<&'s Value> {
    attributes.iter().find(|known| known.key == key)?.value.as_ref()?.value.as_ref()
}

#[track_caller]
fn words<'s>(attributes: &'s [KeyValue], key: &str) -> &'s str {
    match attribute(attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}

/// A server of keys whose tokens may push, which tells the receiver at that URL.
fn serve(keys: &Keys, endpoint: &str, more: &str) -> Server {
    let path: PathBuf = keys.folder().join("millpond.toml");
    let text = format!(
        "[identity]\nkeys = \"keys\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[instance]]\nname = \"main\"\n\
         [otlp]\nendpoint = \"{endpoint}\"\nsample = 1.0\ninterval = \"1s\"\n{more}\n"
    );
    fs::write(&path, text).unwrap();
    Server::start_where_configured(&["--metrics", "127.0.0.1:0", "--config", path.to_str().unwrap()])
}

/// A request as a client sends it that has a span, a token and a name.
fn request<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = RequestMetadata {
        tool_details: Some(ToolDetails { tool_name: "bst".into(), tool_version: "2.8".into() }),
        tool_invocation_id: "invocation".into(),
        action_id: "x".repeat(1000),
        ..Default::default()
    };
    let headers = request.metadata_mut();
    headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert_bin(METADATA, MetadataValue::from_bytes(&metadata.encode_to_vec()));
    request
}

#[test]
fn calls_are_told_as_spans_and_figures_as_the_page_has_them() {
    let (keys, runtime, receiver) = (Keys::new(), Runtime::new().unwrap(), Receiver::default());
    let token = keys.run(&["tokens", "issue", "ci", "--push"]).trim().to_owned();
    fs::write(keys.folder().join("headers"), "x-receiver-key: quite-secret\n").unwrap();
    let more = "headers_file = \"headers\"\nresource = \"service.name=pond\"";
    let mut server = serve(&keys, &format!("http://{}", receiver.serve(&runtime)), more);
    let blob = Blob::new(&b"told"[..]);
    runtime.block_on(async {
        let channel = Endpoint::from_shared(server.url().to_owned()).unwrap().connect().await.unwrap();
        let mut storage = ContentAddressableStorageClient::new(channel);
        let mut update = blob.update();
        update.instance_name = "main".into();
        storage.batch_update_blobs(request(update, &token)).await.unwrap();
        let digests = vec![blob.digest.clone()];
        let read = BatchReadBlobsRequest { digests, ..Default::default() };
        storage.batch_read_blobs(request(read, &token)).await.unwrap();
        let nobody = storage.batch_update_blobs(request(blob.update(), "mp_00000000_x")).await;
        assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
    });
    let spans = wait("the spans", || Some(receiver.spans()).filter(|spans| spans.len() >= 3));
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for span in &spans {
        assert_eq!((hexadecimal(&span.trace_id).as_str(), span.span_id.len()), (TRACE, 8));
        assert_eq!(hexadecimal(&span.parent_span_id), PARENT);
        assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(words(&span.attributes, "millpond.tool"), "bst 2.8");
        assert_eq!(words(&span.attributes, "millpond.tool_invocation_id"), "invocation");
        assert_eq!(words(&span.attributes, "millpond.action_id").len(), 256);
        assert_eq!(words(&span.attributes, "millpond.request_id").len(), 16);
    }
    let told = |number: usize, key| words(&spans[number].attributes, key);
    assert_eq!(spans[0].name, "ContentAddressableStorage/BatchUpdateBlobs");
    assert_eq!((told(0, "rpc.response.status_code"), told(0, "millpond.instance")), ("OK", "main"));
    assert_eq!((told(0, "millpond.identity"), told(2, "millpond.identity")), ("token", "refused"));
    assert_eq!((told(1, "rpc.method"), told(1, "millpond.instance")), ("BatchReadBlobs", ""));
    assert_eq!(told(2, "rpc.response.status_code"), "UNAUTHENTICATED");
    for (number, key) in [(0, "millpond.received_bytes"), (1, "millpond.sent_bytes")] {
        let bytes = attribute(&spans[number].attributes, key);
        assert!(matches!(bytes, Some(Value::IntValue(4..))), "{bytes:?}");
    }

    let name = "millpond_calls_total";
    let page = Page::of(&server);
    let scraped = page.sum(name, &[]);
    assert!(scraped >= 3.0, "{}", page.text);
    wait("the figures", || receiver.counter(name).filter(|sent| *sent as f64 == scraped));

    // The end tells what came since.
    assert!(server.stop().success());
    assert_eq!(receiver.counter("millpond_otlp_spans_dropped_total"), Some(0));
    let received = receiver.0.lock().unwrap();
    assert!(received.headers.iter().all(|headers| headers.get("x-receiver-key").unwrap() == "quite-secret"));
    let resource = received.traces[0].resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(words(&resource.attributes, "service.name"), "pond");
    words(&resource.attributes, "service.instance.id");
    let all = format!("{:?}{:?}", received.traces, received.metrics);
    assert!(!all.contains(&token) && !all.contains("mp_00000000_x") && !all.contains("secret"));
    assert!(!server.log().contains("secret"), "{}", server.log());
}

#[test]
fn receiver_is_told_over_tls_if_its_certificate_is_known() {
    let (keys, runtime, receiver) = (Keys::new(), Runtime::new().unwrap(), Receiver::default());
    let own = Keys::new();
    let endpoint = format!("https://{}", tls_before(receiver.serve(&runtime), &own, &runtime));
    fs::write(keys.folder().join("headers"), "x-receiver-key: quite-secret\n").unwrap();

    let mut stranger = serve(&keys, &endpoint, "headers_file = \"headers\"");
    wait("the failure", || {
        let failed = Page::of(&stranger).sum("millpond_otlp_failures_total", &[]);
        (failed > 0.0).then_some(())
    });
    assert!(stranger.stop().success());
    assert!(stranger.log().contains("UnknownIssuer"), "{}", stranger.log());
    assert!(receiver.0.lock().unwrap().metrics.is_empty());

    let more = format!("headers_file = \"headers\"\nca = \"{}\"", own.ca().display());
    let server = serve(&keys, &endpoint, &more);
    wait("the figures", || receiver.counter("millpond_otlp_failures_total"));
    runtime.block_on(async {
        let channel = Endpoint::from_shared(server.url().to_owned()).unwrap().connect().await.unwrap();
        let read = request(BatchReadBlobsRequest::default(), "mp_00000000_x");
        drop(ContentAddressableStorageClient::new(channel).batch_read_blobs(read).await);
    });
    wait("the span", || receiver.spans().pop());
    let received = receiver.0.lock().unwrap();
    assert!(received.headers.iter().all(|headers| headers.get("x-receiver-key").unwrap() == "quite-secret"));
}

/// Calls, and the end, where nothing takes what is told.
fn undisturbed(endpoint: SocketAddr) -> String {
    let (keys, runtime) = (Keys::new(), Runtime::new().unwrap());
    let mut server = serve(&keys, &format!("http://{endpoint}"), "");
    runtime.block_on(async {
        let channel = Endpoint::from_shared(server.url().to_owned()).unwrap().connect().await.unwrap();
        let mut storage = ContentAddressableStorageClient::new(channel);
        // More than are kept for a receiver.
        for number in 0..3000_u32 {
            let blob = Blob::new(number.to_be_bytes().to_vec());
            let digests = vec![blob.digest];
            storage.batch_read_blobs(BatchReadBlobsRequest { digests, ..Default::default() }).await.unwrap();
        }
    });
    wait("the count of what was dropped", || {
        let dropped = Page::of(&server).sum("millpond_otlp_spans_dropped_total", &[]);
        (dropped > 0.0).then_some(())
    });
    assert!(server.stop().success(), "{}", server.log());
    server.log()
}

#[test]
fn receiver_that_is_away_disturbs_no_call() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = undisturbed(address);
    assert!(log.contains("the receiver of OTLP did not take what was sent"), "{log}");
}

#[test]
fn receiver_that_hangs_disturbs_no_call() {
    // It is connected to, and nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = undisturbed(silent.local_addr().unwrap());
    assert!(log.contains("the receiver of OTLP did not take what was left"), "{log}");
}
