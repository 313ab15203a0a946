//! `[otlp]`: whom calls and figures are told, and which of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::merge::Layers;
use super::show::{given, number, path, unsaid};
use super::{Given, Settings, usage};
use crate::exit::Failure;
use crate::span::Span;

/// The most attributes.
const ATTRIBUTES_MAX: usize = 32;
/// The longest of them, in bytes.
const ATTRIBUTE_MAX: usize = 256;
/// The shortest interval.
const INTERVAL_LEAST: Span = Span { seconds: 1 };

/// The table of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Table {
    /// The receiver: `"http://127.0.0.1:4317"`.
    endpoint: Option<Spanned<Endpoint>>,
    /// Who vouches for it.
    ca: Option<Spanned<PathBuf>>,
    /// What is sent with each message.
    headers_file: Option<Spanned<PathBuf>>,
    /// A span for each call.
    traces: Option<Spanned<bool>>,
    /// The figures.
    metrics: Option<Spanned<bool>>,
    /// The share of calls that have a span.
    sample: Option<Spanned<Share>>,
    /// How often figures are sent.
    interval: Option<Spanned<Span>>,
    /// What this server is.
    resource: Option<Spanned<Attributes>>,
}

/// The same with defaults.
#[derive(Debug)]
pub(crate) struct Otlp {
    /// The receiver; nothing is told without one.
    pub(crate) endpoint: Option<Given<Endpoint>>,
    /// Who vouches for it.
    pub(crate) ca: Option<Given<PathBuf>>,
    /// What is sent with each message.
    pub(crate) headers_file: Option<Given<PathBuf>>,
    /// A span for each call.
    pub(crate) traces: Given<bool>,
    /// The figures.
    pub(crate) metrics: Given<bool>,
    /// The share of calls that have a span.
    pub(crate) sample: Given<Share>,
    /// How often figures are sent.
    pub(crate) interval: Given<Span>,
    /// What this server is.
    pub(crate) resource: Option<Given<Attributes>>,
}

/// An address of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Endpoint(pub(crate) String);

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let uri = text.parse::<http::Uri>().ok().filter(|uri| {
            let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
            let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            scheme && host && uri.port_u16().is_some() && uri.path() == "/" && uri.query().is_none()
        });
        let refused = || {
            format!(
                "\"{}\" is no receiver of OTLP by gRPC: write http://HOST:4317 or https://HOST:4317",
                text.escape_debug()
            )
        };
        uri.map(|_| Self(text.clone())).ok_or_else(refused)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// From 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Share(pub(crate) f64);

/// How a file or a variable has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "give a number from 0 to 1")]
enum Written {
    Number(f64),
    Text(String),
}

impl TryFrom<Written> for Share {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let share = match written {
            Written::Number(share) => Some(share),
            Written::Text(text) => text.trim().parse().ok(),
        };
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| "a share of calls is a number from 0 to 1, as in 0.1".to_owned())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}", self.0)
    }
}

/// Names and values: `service.name=cache, deployment.environment=test`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Attributes(pub(crate) BTreeMap<String, String>);

impl TryFrom<String> for Attributes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut attributes = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let split = pair.split_once('=').filter(|(name, _)| !name.is_empty());
            let Some((name, value)) = split.filter(|_| pair.len() <= ATTRIBUTE_MAX) else {
                return Err(format!(
                    "\"{}\" is no attribute: write service.name=cache, of at most {ATTRIBUTE_MAX} bytes",
                    pair.escape_debug()
                ));
            };
            attributes.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(format!(
                "{} attributes are too many: give at most {ATTRIBUTES_MAX}",
                attributes.len()
            ));
        }
        Ok(Self(attributes))
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        to.write_str(&pairs.join(","))
    }
}

impl Otlp {
    /// What the layers say.
    pub(super) fn merge(layers: Layers<'_>) -> Self {
        let is = |key, value| Given::default(key, value);
        Self {
            endpoint: layers.find("endpoint", |file| file.otlp.endpoint.as_ref()),
            ca: layers.path("ca", |file| file.otlp.ca.as_ref()),
            headers_file: layers.path("headers_file", |file| file.otlp.headers_file.as_ref()),
            traces: (layers.find("traces", |file| file.otlp.traces.as_ref()))
                .unwrap_or_else(|| is("traces", true)),
            metrics: (layers.find("metrics", |file| file.otlp.metrics.as_ref()))
                .unwrap_or_else(|| is("metrics", true)),
            sample: (layers.find("sample", |file| file.otlp.sample.as_ref()))
                .unwrap_or_else(|| Given::default("sample", Share(0.1))),
            interval: (layers.find("interval", |file| file.otlp.interval.as_ref()))
                .unwrap_or_else(|| Given::default("interval", Span { seconds: 60 })),
            resource: layers.find("resource", |file| file.otlp.resource.as_ref()),
        }
    }

    /// Prints the section.
    pub(super) fn show(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("\n[otlp]\n")?;
        match &self.endpoint {
            Some(endpoint) => given(to, "endpoint", endpoint)?,
            None => unsaid(to, "endpoint")?,
        }
        path(to, "ca", self.ca.as_ref())?;
        path(to, "headers_file", self.headers_file.as_ref())?;
        number(to, "traces", &self.traces)?;
        number(to, "metrics", &self.metrics)?;
        number(to, "sample", &self.sample)?;
        given(to, "interval", &self.interval)?;
        match &self.resource {
            Some(resource) => given(to, "resource", resource),
            None => unsaid(to, "resource"),
        }
    }
}

/// Refuses what cannot be.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    let Otlp { endpoint, ca, headers_file, interval, .. } = &settings.otlp;
    if interval.value < INTERVAL_LEAST {
        let sentence = format!("{}: {} is too short an interval", interval.place, interval.value);
        return Err(usage(sentence, "give 1s or more"));
    }
    let Some(endpoint) = endpoint else {
        let without = ca.iter().chain(headers_file).next();
        return without.map_or(Ok(()), |given| {
            let sentence = format!("{}: there is no receiver of OTLP that this is for", given.place);
            Err(usage(sentence, "give endpoint in [otlp] as well, or take this out"))
        });
    };
    if let Some(ca) = ca.as_ref().filter(|_| endpoint.value.0.starts_with("http:")) {
        let sentence =
            format!("{}: {} is spoken to without TLS, where nobody is vouched for", ca.place, endpoint.value);
        return Err(usage(sentence, "write https:// as endpoint, or take ca out"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_urls_without_a_path() {
        for good in ["http://127.0.0.1:4317", "https://otel.example.org:4317", "http://[::1]:4317/"] {
            assert!(Endpoint::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "otel:4317",
            "http://otel",
            "grpc://otel:4317",
            "http://a:b@otel:1",
            "http://otel:1/v1/traces",
        ] {
            assert!(Endpoint::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn attributes_are_names_with_values() {
        let attributes = Attributes::try_from("service.name=pond, a=b=c,".to_owned()).unwrap();
        assert_eq!(attributes.to_string(), "a=b=c,service.name=pond");
        for bad in ["alone".to_owned(), "=x".to_owned(), format!("a={}", "x".repeat(255))] {
            assert!(Attributes::try_from(bad).is_err());
        }
        let many: String = (0..33).map(|number| format!("a{number}=x,")).collect();
        assert!(Attributes::try_from(many).is_err());
    }

    #[test]
    fn shares_are_from_none_to_all() {
        for (text, share) in
            [("0.1", Some(0.1)), ("1", Some(1.0)), ("1.5", None), ("-1", None), ("nan", None), ("x", None)]
        {
            let found = Share::try_from(Written::Text(text.to_owned())).ok();
            assert_eq!(found.map(|found| found.0), share, "{text}");
        }
    }
}
