//! Plain HTTP, health and reflection.

use std::net::SocketAddr;

use millpond_proto::reapi::GetCapabilitiesRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::server::{TestServer, ok};

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_count_calls_and_show_the_cache() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.put(&[b"counted"]).await;
    ok(client.capabilities.get_capabilities(GetCapabilitiesRequest::default()).await);
    let page = get(server.metrics, "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for line in [
        r#"millpond_calls_total{service="ContentAddressableStorage",method="BatchUpdateBlobs",code="OK",identity="anonymous"} 1"#,
        r#"millpond_calls_total{service="Capabilities",method="GetCapabilities",code="OK",identity="anonymous"} 1"#,
        "millpond_connections 1",
        "millpond_blobs 1",
        "millpond_poisoned 0",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(get(server.metrics, "/healthz").await.ends_with("ok\n"));
    for path in ["/", "/metrics/", "/nothing"] {
        let answer = get(server.metrics, path).await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("/metrics is for"), "{path}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn http_1_on_the_grpc_port_is_told_what_it_is() {
    let server = TestServer::start().await;
    let answer = get(server.open, "/").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("gRPC"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn health_and_reflection_know_the_services() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut health = HealthClient::new(client.channel.clone());
    for service in
        ["", "build.bazel.remote.execution.v2.ContentAddressableStorage", "buildstream.v2.ReferenceStorage"]
    {
        let status = ok(health.check(HealthCheckRequest { service: service.into() }).await).status;
        assert_eq!(status, ServingStatus::Serving as i32, "{service}");
    }
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let questions = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("build.bazel.remote.asset.v1.Push".into())),
    ];
    let mut answers = ok(reflection.server_reflection_info(tokio_stream::iter(questions)).await);
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    assert!(list.service.iter().any(|service| service.name == "google.bytestream.ByteStream"));
    let found = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(found, Some(MessageResponse::FileDescriptorResponse(_))));
    server.stop().await;
}
