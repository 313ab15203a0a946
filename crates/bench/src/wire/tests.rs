use bytes::Bytes;
use h2::server;
use http::{HeaderMap, Response};
use millpond_proto::bytestream::{ReadRequest, ReadResponse, WriteResponse};
use tokio::net::TcpListener;

use super::{Call, Connection, Expect, Server, Target, method};
use crate::credentials::Credentials;
use crate::failure::Failure;

/// How a server answers a call.
struct Answer {
    head: u16,
    messages: Vec<Bytes>,
    /// `grpc-status` and `grpc-message`, if there is an end.
    status: Option<(&'static str, &'static str)>,
}

impl Answer {
    fn ok(messages: Vec<Bytes>) -> Self {
        Self { head: 200, messages, status: Some(("0", "")) }
    }

    fn refused(code: &'static str, message: &'static str) -> Self {
        Self { head: 200, messages: Vec::new(), status: Some((code, message)) }
    }
}

/// A server that gives one answer on each connection, and then ends it.
async fn serve(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target: Target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.headers()["content-type"], "application/grpc");
            let head = Response::builder().status(answer.head);
            match answer.status {
                // Without a message, the status stands at the beginning.
                Some((code, message)) if answer.messages.is_empty() => {
                    let head = head.header("grpc-status", code).header("grpc-message", message);
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                }
                status => {
                    let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
                    for message in answer.messages {
                        body.send_data(message, status.is_none()).unwrap();
                    }
                    let trailer =
                        |(code, _): (&str, _)| ("grpc-status".parse().unwrap(), code.parse().unwrap());
                    if status.is_some() {
                        body.send_trailers(HeaderMap::from_iter(status.map(trailer))).unwrap();
                    }
                }
            }
            connection.graceful_shutdown();
            while connection.accept().await.is_some() {}
        }
    });
    Server::new(&target, &Credentials::default()).unwrap()
}

/// What comes of one call.
async fn call(answer: Answer, expect: Expect) -> Result<(), Failure> {
    let server = serve(vec![answer]).await;
    Connection::open(&server)
        .await
        .unwrap()
        .call(&Call::new(method::READ, &ReadRequest::default(), expect))
        .await
}

fn committed() -> Answer {
    Answer::ok(vec![Call::frame(&WriteResponse { committed_size: 7 })])
}

#[tokio::test]
async fn connection_that_the_server_ended_is_made_again() {
    let server = serve(vec![committed(), committed(), committed()]).await;
    let mut connection = Connection::open(&server).await.unwrap();
    let write = Call::new(method::WRITE, &ReadRequest::default(), Expect::Committed(7));
    for _ in 0..3 {
        connection.call(&write).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let server = serve(vec![committed()]).await;
    let mut connection = Connection::open(&server).await.unwrap();
    let write = Call::new(method::WRITE, &ReadRequest::default(), Expect::Done);
    connection.call(&write).await.unwrap();
    assert!(connection.call(&write).await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn refusals_are_told_with_their_sentence() {
    let failure = call(Answer::refused("8", "no%20room"), Expect::Done).await.unwrap_err();
    assert_eq!((failure.code, &failure.message[..]), ("RESOURCE_EXHAUSTED", "no room"));
    assert!(call(Answer::refused("12", ""), Expect::Done).await.unwrap_err().is_unimplemented());
    let page = Answer { head: 404, messages: vec!["not here".into()], status: None };
    assert!(call(page, Expect::Done).await.unwrap_err().message.contains("404"));
    let endless = Answer { status: None, ..committed() };
    assert!(call(endless, Expect::Committed(7)).await.unwrap_err().message.contains("without a status"));
}

#[tokio::test]
async fn streams_are_counted() {
    let blob = |size: usize| Call::frame(&ReadResponse { data: vec![7; size].into() });
    let answer = || Answer::ok(vec![blob(100), blob(9000)]);
    call(answer(), Expect::Read(9100)).await.unwrap();
    assert_eq!(call(answer(), Expect::Read(9101)).await.unwrap_err().code, "WRONG_ANSWER");
}
