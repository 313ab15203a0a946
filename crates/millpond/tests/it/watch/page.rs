//! A page of metrics, read off a server that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::server::Server;

/// What a server showed.
#[derive(Debug)]
pub(crate) struct Page {
    /// All of it, without its head.
    pub(crate) text: String,
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// As Prometheus' older format has it. The server was started with `--metrics`.
    pub(crate) fn of(server: &Server) -> Self {
        Self::accepting(server, "*/*")
    }

    /// In the format that is asked for.
    pub(crate) fn accepting(server: &Server, kind: &str) -> Self {
        let address = Self::address(server);
        let mut connection = TcpStream::connect(&address).unwrap();
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {kind}\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self { text: text.to_owned(), samples: lines.filter_map(sample).collect() }
    }

    /// Where the server shows it.
    pub(crate) fn address(server: &Server) -> String {
        let log = server.log();
        let behind = log.rsplit("metrics: http://").next().and_then(|rest| rest.split('/').next());
        behind.unwrap().to_owned()
    }

    /// The one sample of this name whose labels hold all of these.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let is_it = |sample: &str| {
            let (known, rest) = sample.split_once('{').unwrap_or((sample, ""));
            known == name && labels.iter().all(|label| rest.contains(label))
        };
        let found: Vec<_> = self.samples.iter().filter(|(sample, _)| is_it(sample)).collect();
        match found[..] {
            [(_, value)] => *value,
            _ => panic!("{name} {labels:?} is there {} times in\n{}", found.len(), self.text),
        }
    }

    /// The sum of all samples of this name whose labels hold all of these.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let is_it = |sample: &str| {
            let (known, rest) = sample.split_once('{').unwrap_or((sample, ""));
            known == name && labels.iter().all(|label| rest.contains(label))
        };
        self.samples.iter().filter(|(sample, _)| is_it(sample)).map(|(_, value)| value).sum()
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|sample| sample.split('{').next().unwrap_or(sample)).collect()
    }
}
