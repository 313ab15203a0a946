//! Reading an answer: its messages, and the status at its end.

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Response, StatusCode};

use super::Expect;
use super::call::HEAD_BYTES;
use super::tally::Tally;
use crate::failure::Failure;

/// Reads an answer to its end: its messages, unless they are what is only counted.
pub(super) async fn read(response: Response<RecvStream>, expect: &Expect) -> Result<Vec<Bytes>, Failure> {
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Failure::unreachable(format!("HTTP status {}", head.status)));
    }
    if let Expect::Read(size) = expect {
        let mut tally = Tally::default();
        while let Some(chunk) = next(&mut body).await? {
            tally.add(&chunk)?;
        }
        status(&head.headers, &mut body).await?;
        return expect.size(*size, tally.total()?).map(|()| Vec::new());
    }
    let mut whole = Bytes::new();
    while let Some(chunk) = next(&mut body).await? {
        whole = joined(whole, chunk);
    }
    status(&head.headers, &mut body).await?;
    messages(whole)
}

/// The next bytes, with leave for the server to send as many more.
async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, Failure> {
    let Some(chunk) = body.data().await else { return Ok(None) };
    let chunk = chunk?;
    body.flow_control().release_capacity(chunk.len())?;
    Ok(Some(chunk))
}

/// Both, without a copy if either is empty or the first was joined before.
fn joined(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    let mut whole = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    whole.extend_from_slice(&second);
    whole.freeze()
}

/// Cuts a stream into its messages.
fn messages(mut stream: Bytes) -> Result<Vec<Bytes>, Failure> {
    let mut messages = Vec::with_capacity(1);
    while let Some([flag, length @ ..]) = stream.first_chunk::<HEAD_BYTES>().copied() {
        stream.advance(HEAD_BYTES);
        let length = u32::from_be_bytes(length) as usize;
        if flag != 0 || stream.len() < length {
            return Err(Failure::wrong("a compressed message, or half of one"));
        }
        messages.push(stream.split_to(length));
    }
    Ok(messages)
}

/// What the server says at the end, or at the beginning if it says nothing else.
async fn status(head: &HeaderMap, body: &mut RecvStream) -> Result<(), Failure> {
    if head.contains_key("grpc-status") {
        return told(head);
    }
    match body.trailers().await? {
        Some(trailers) => told(&trailers),
        None => Err(Failure::unreachable("an answer without a status")),
    }
}

fn told(headers: &HeaderMap) -> Result<(), Failure> {
    let code = headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let message = headers.get("grpc-message").map_or(&b""[..], |message| message.as_bytes());
            Err(Failure::told(code, &decoded(message)))
        }
        None => Err(Failure::unreachable("an answer without a status")),
    }
}

/// Undoes the percent-encoding of a status's message.
fn decoded(mut encoded: &[u8]) -> String {
    let mut message = Vec::with_capacity(encoded.len());
    while let Some((first, rest)) = encoded.split_first() {
        let digits = rest.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        message.push(byte.unwrap_or(*first));
        encoded = if byte.is_some() { rest.get(2..).unwrap_or_default() } else { rest };
    }
    String::from_utf8_lossy(&message).into_owned()
}

#[cfg(test)]
mod tests {
    use millpond_proto::bytestream::WriteResponse;

    use super::*;
    use crate::wire::Call;

    #[test]
    fn messages_of_statuses_are_decoded() {
        assert_eq!(decoded(b"no%20such%20blob%3a 100%"), "no such blob: 100%");
        assert_eq!(decoded(b"%zz%e2%82%ac"), "%zz€");
    }

    #[test]
    fn streams_are_cut_into_messages_and_halves_are_wrong() {
        let frame = Call::frame(&WriteResponse { committed_size: 300 });
        let stream = joined(joined(Bytes::new(), frame.clone()), frame.clone());
        assert_eq!(messages(stream).unwrap(), [frame.slice(5..), frame.slice(5..)]);
        messages(frame.slice(..7)).unwrap_err();
        assert!(messages(Bytes::new()).unwrap().is_empty());
    }
}
