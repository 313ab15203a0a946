//! Calls through the whole layer, to services that panic, stall or go away.

use super::*;
use crate::memory::{Purpose, RequestLimits};
use crate::metrics::Format;
use axum::routing::post;
use http_body::Body as _;
use std::future::poll_fn;
use std::time::Duration;
use tonic::body::Body as TonicBody;

fn calls(router: Router) -> (Calls, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let memory = Arc::new(Memory::new(0, RequestLimits::waiting(Duration::from_secs(30))));
    let calls = Calls::new(router, Bounds::OPEN, Arc::default(), Arc::clone(&metrics), memory);
    (calls.on_connection(Some(([127, 0, 0, 1], 4000).into()), Default::default()), metrics)
}

async fn status_of(mut body: Sent, parts: http::response::Parts) -> (String, String) {
    let mut headers = parts.headers;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(trailers) = frame.unwrap().into_trailers() {
            headers.extend(trailers);
        }
    }
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap().to_owned());
    (text("grpc-status").unwrap_or_default(), text("grpc-message").unwrap_or_default())
}

async fn call(router: Router) -> ((String, String), String) {
    let (mut calls, metrics) = calls(router);
    let request = Request::post("/google.bytestream.ByteStream/Read").body(TonicBody::empty()).unwrap();
    let (parts, body) = calls.call(request).await.unwrap().into_parts();
    let status = status_of(body, parts).await;
    assert_eq!(metrics.calls_in_flight.get(), 0);
    drop(calls);
    assert_eq!(metrics.connections.get(), 0);
    (status, metrics.render(&millpond_cache::Figures::default(), Format::OpenMetrics).unwrap())
}

#[tokio::test]
async fn panic_in_a_call_is_internal() {
    let handler = async || -> &'static str { panic!("on purpose") };
    let ((code, message), metrics) = call(Router::new().fallback(post(handler))).await;
    assert_eq!(code, "13");
    assert!(message.starts_with("internal%20error"), "{message}");
    assert!(metrics.contains(r#"method="Read",code="INTERNAL",identity="anonymous"} 1"#), "{metrics}");
}

#[tokio::test]
async fn panic_in_the_middle_of_an_answer_is_internal() {
    let handler = async || {
        let mut first = true;
        Body::from_stream(futures_util::stream::poll_fn(move |_| {
            assert!(std::mem::take(&mut first), "on purpose");
            Poll::Ready(Some(Ok::<_, Infallible>(Bytes::from_static(b"half"))))
        }))
    };
    let ((code, _), metrics) = call(Router::new().fallback(post(handler))).await;
    assert_eq!(code, "13");
    assert!(metrics.contains(r#"method="Read",code="INTERNAL",identity="anonymous"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"method="Read"} 4"#), "{metrics}");
}

#[tokio::test]
async fn call_that_is_dropped_was_cancelled() {
    let handler = async || -> &'static str { std::future::pending().await };
    let (mut calls, metrics) = calls(Router::new().fallback(post(handler)));
    let request = Request::post("/").body(TonicBody::empty()).unwrap();
    let under_way = calls.call(request);
    assert_eq!(metrics.calls_in_flight.get(), 1);
    drop(under_way);
    assert_eq!(metrics.calls_in_flight.get(), 0);
    let text = metrics.render(&millpond_cache::Figures::default(), Format::OpenMetrics).unwrap();
    assert!(text.contains(r#"code="CANCELLED",identity="anonymous"} 1"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn request_that_does_not_get_on_is_ended() {
    let handler = async |request: Request<Body>| {
        let mut body = request.into_body();
        let error = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap().unwrap_err();
        tonic::Status::from_error(error.into()).into_http::<Body>()
    };
    let (mut calls, _) = calls(Router::new().fallback(post(handler)));
    let nothing = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let request = Request::post("/").header(CONTENT_TYPE, "application/grpc").body(nothing).unwrap();
    let (parts, body) = calls.call(request).await.unwrap().into_parts();
    let (code, message) = status_of(body, parts).await;
    assert_eq!(code, "4");
    assert!(message.contains("300%20seconds"), "{message}");
}

/// The code of a call that waits for memory which nobody gives back, and how long it waited.
async fn waited(path: &str, agent: &str) -> (String, u64) {
    let memory = Arc::new(Memory::new(0, RequestLimits::waiting(Duration::from_secs(7))));
    let others = Share::new(Arc::clone(&memory));
    let hoard = |purpose| std::iter::from_fn(|| others.room(purpose, 60 * 1024)).collect::<Vec<_>>();
    let _hoards = [Purpose::Asking, Purpose::First].map(hoard);
    let handler = async |request: Request<Body>| {
        let mut body = request.into_body();
        loop {
            match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap() {
                Ok(_) => {}
                Err(error) => return tonic::Status::from_error(error.into()).into_http::<Body>(),
            }
        }
    };
    let router = Router::new().fallback(post(handler));
    let calls = Calls::new(router, Bounds::OPEN, Arc::default(), Arc::default(), memory);
    let mut calls = calls.on_connection(Some(([127, 0, 0, 1], 4000).into()), Default::default());
    let head = Bytes::from_static(&[0, 0, 0x20, 0, 0, 0x0a]);
    let body = Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>(head)]));
    let request = Request::post(path).header(CONTENT_TYPE, "application/grpc");
    let request = request.header("user-agent", agent).body(body).unwrap();
    let start = tokio::time::Instant::now();
    let (parts, body) = calls.call(request).await.unwrap().into_parts();
    (status_of(body, parts).await.0, start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn waiting_for_memory_ends_with_what_the_client_survives() {
    const CASD: &str = "grpc-c++/1.81.1";
    const PYTHON: &str = "grpc-python/1.62.1";
    const CAS: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage";
    assert_eq!(waited(&format!("{CAS}/GetTree"), CASD).await, ("5".into(), 7));
    assert_eq!(waited("/buildstream.v2.ReferenceStorage/GetReference", PYTHON).await, ("5".into(), 7));
    assert_eq!(waited(&format!("{CAS}/FindMissingBlobs"), CASD).await, ("14".into(), 30));
    assert_eq!(waited(&format!("{CAS}/FindMissingBlobs"), PYTHON).await, ("8".into(), 30));
    assert_eq!(waited(&format!("{CAS}/BatchUpdateBlobs"), CASD).await, ("8".into(), 30));
    assert_eq!(waited("/google.bytestream.ByteStream/Write", CASD).await, ("8".into(), 30));
}

/// An upload that comes whole has nothing left to send, so it takes no window, though there be none.
#[tokio::test(start_paused = true)]
async fn upload_that_has_come_whole_waits_for_no_window() {
    let memory = Arc::new(Memory::new(0, RequestLimits::waiting(Duration::from_secs(7))));
    let others: Vec<_> = (0..1000).map(|_| Share::new(Arc::clone(&memory))).collect();
    let hoard: Vec<_> = others.iter().map_while(|other| other.window()).collect();
    assert!(!hoard.is_empty() && hoard.len() < others.len());
    let handler = async |request: Request<Body>| {
        let mut body = request.into_body();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            if let Err(error) = frame {
                return tonic::Status::from_error(error.into()).into_http::<Body>();
            }
        }
        tonic::Status::ok("").into_http()
    };
    let router = Router::new().fallback(post(handler));
    let calls = Calls::new(router, Bounds::OPEN, Arc::default(), Arc::default(), memory);
    let mut calls = calls.on_connection(Some(([127, 0, 0, 1], 4000).into()), Default::default());
    let whole = Body::from(Bytes::from_static(&[0, 0, 0, 0, 2, 0x50, 1]));
    let request = Request::post("/google.bytestream.ByteStream/Write");
    let request = request.header(CONTENT_TYPE, "application/grpc").body(whole).unwrap();
    let start = tokio::time::Instant::now();
    let (parts, body) = calls.call(request).await.unwrap().into_parts();
    assert_eq!(status_of(body, parts).await.0, "0");
    assert_eq!(start.elapsed().as_secs(), 0);
}

/// Whoever may do nothing is refused by the headers alone, and holds no memory while the message does not come.
#[tokio::test(start_paused = true)]
async fn whoever_may_do_nothing_is_refused_before_the_message_comes() {
    let nobody = Bounds { most: millpond_cache::Rights::Push, anonymous: millpond_cache::Rights::Nothing };
    let router = Router::new().fallback(post(async |_: Request<Body>| -> Response<Body> { unreachable!() }));
    let memory = Arc::new(Memory::new(0, RequestLimits::waiting(Duration::from_secs(7))));
    let calls = Calls::new(router, nobody, Arc::default(), Arc::default(), memory);
    let mut calls = calls.on_connection(Some(([127, 0, 0, 1], 4000).into()), Default::default());
    let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let path = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs";
    let request = Request::post(path).header(CONTENT_TYPE, "application/grpc").body(never).unwrap();
    let (parts, body) = calls.call(request).await.unwrap().into_parts();
    assert_eq!(status_of(body, parts).await.0, "16");
}
