//! Calls through the whole layer, to services that panic, stall or go away.

use super::*;
use axum::routing::post;
use http_body::Body as _;
use std::future::poll_fn;
use tonic::body::Body as TonicBody;

fn calls(router: Router) -> (Calls, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let calls = Calls::new(router, Bounds::OPEN, Arc::clone(&metrics), Arc::new(Memory::new(0)));
    (calls.on_connection(([127, 0, 0, 1], 4000).into()), metrics)
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
    (status, metrics.render(&millpond_cache::Figures::default()).unwrap())
}

#[tokio::test]
async fn panic_in_a_call_is_internal() {
    let handler = async || -> &'static str { panic!("on purpose") };
    let ((code, message), metrics) = call(Router::new().fallback(post(handler))).await;
    assert_eq!(code, "13");
    assert!(message.starts_with("internal%20error"), "{message}");
    assert!(metrics.contains(r#"method="Read",code="INTERNAL"} 1"#), "{metrics}");
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
    assert!(metrics.contains(r#"method="Read",code="INTERNAL"} 1"#), "{metrics}");
    assert!(metrics.contains("millpond_sent_bytes_total 4"), "{metrics}");
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
    let text = metrics.render(&millpond_cache::Figures::default()).unwrap();
    assert!(text.contains(r#"code="CANCELLED"} 1"#), "{text}");
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
