//! Whom calls and figures are told, made of the settings and of the files that these name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use millpond_server::Otlp;

use crate::config::{Given, Settings};
use crate::exit::{Code, Failure};

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The most headers.
const HEADERS_MAX: usize = 32;

/// What the settings come to, if there is a receiver.
pub(crate) fn of(settings: &Settings) -> Result<Option<Otlp>, Failure> {
    let asked = &settings.otlp;
    let Some(endpoint) = &asked.endpoint else { return Ok(None) };
    let ca = asked.ca.as_ref().map(read).transpose()?.unwrap_or_default();
    let refused = |error| {
        let place = asked.ca.as_ref().map_or(&endpoint.place, |ca| &ca.place);
        let hint = "give certificates in PEM as ca, or leave it out";
        Failure::new(Code::Usage, format!("{place}: {error}"), hint)
    };
    let mut otlp = Otlp::new(&endpoint.value.0, ca.into_bytes()).map_err(refused)?;
    let headers = match &asked.headers_file {
        Some(file) if !otlp.keeps_secrets() => {
            let sentence =
                format!("{}: these headers could be read on their way to {}", file.place, endpoint.value);
            return Err(Failure::new(
                Code::Usage,
                sentence,
                "write https:// as endpoint, or take headers_file out",
            ));
        }
        Some(file) => headers(&read(file)?).map_err(|(line, why)| {
            let sentence = format!("{}: {}, line {line}: {why}", file.place, file.value.display());
            Failure::new(Code::Usage, sentence, "write a line NAME: VALUE for each header")
        })?,
        None => Vec::new(),
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let unsaid = [("service.name", "millpond".to_owned()), ("service.instance.id", host)];
    let mut resource: BTreeMap<_, _> = unsaid.map(|(name, value)| (name.to_owned(), value)).into();
    resource.extend(asked.resource.iter().flat_map(|given| given.value.0.clone()));
    otlp.headers = headers;
    otlp.traces = asked.traces.value;
    otlp.metrics = asked.metrics.value;
    otlp.sample = asked.sample.value.0;
    otlp.interval = Duration::from_secs(asked.interval.value.seconds.into());
    otlp.resource = resource;
    Ok(Some(otlp))
}

fn read(file: &Given<PathBuf>) -> Result<String, Failure> {
    let mut text = String::new();
    let opened = File::open(&file.value);
    opened.and_then(|opened| opened.take(FILE_MAX).read_to_string(&mut text)).map_err(|error| {
        let sentence = format!("{}: {} cannot be read: {error}", file.place, file.value.display());
        Failure::new(Code::Usage, sentence, "let the user that this runs as read it")
    })?;
    Ok(text)
}

/// Lines of `NAME: VALUE`. What is wrong with one does not say what stands in it.
fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, (usize, &'static str)> {
    let mut headers = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, value) = text.split_once(':').ok_or((line, "there is no colon"))?;
        let name = name.trim().parse().map_err(|_| (line, "that is no name of a header"))?;
        let mut value: HeaderValue =
            value.trim().parse().map_err(|_| (line, "that is no value of a header"))?;
        value.set_sensitive(true);
        if headers.len() == HEADERS_MAX {
            return Err((line, "these are too many headers"));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_not_printed() {
        let found = headers("# for the collector\n\nAuthorization: Bearer secret:1\nx-a:b\n").unwrap();
        assert_eq!(found[0].1, "Bearer secret:1");
        assert_eq!((found[1].0.as_str(), found.len()), ("x-a", 2));
        assert!(!format!("{found:?}").contains("secret"));
        assert_eq!(headers("\nsecret").unwrap_err(), (2, "there is no colon"));
        assert_eq!(headers("a b: c").unwrap_err().0, 1);
        assert!(headers(&"a: b\n".repeat(HEADERS_MAX + 1)).is_err());
    }
}
