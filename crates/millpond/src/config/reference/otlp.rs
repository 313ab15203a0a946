//! `[otlp]`

use super::{KEY, Key, Section};

pub(super) const OTLP: Section = Section {
    name: "otlp",
    many: false,
    at_start: true,
    text: "Traces and metrics for OpenTelemetry, sent by OTLP over gRPC. Nothing is sent without an endpoint.",
    another: &[],
    keys: &[
        Key {
            name: "endpoint",
            value: "\"http://127.0.0.1:4317\"",
            default: Some("nothing is sent"),
            text: "The receiver: http://HOST:PORT, or https://HOST:PORT for TLS. That it is away or hangs slows no call.",
            variable: "MILLPOND__OTLP__ENDPOINT",
            ..KEY
        },
        Key {
            name: "ca",
            value: "\"/etc/millpond/otlp-ca.crt\"",
            default: Some("those that the system trusts"),
            text: "Certificates in PEM of those who vouch for the receiver's own.",
            variable: "MILLPOND__OTLP__CA",
            ..KEY
        },
        Key {
            name: "headers_file",
            value: "\"/etc/millpond/otlp-headers\"",
            default: Some("none"),
            text: "Headers that are sent with each message, a line NAME: VALUE each, for receivers that want a secret. Only with \
                   https://, or to a receiver on this machine.",
            variable: "MILLPOND__OTLP__HEADERS_FILE",
            ..KEY
        },
        Key {
            name: "traces",
            value: "true",
            text: "A span is sent for each call that is chosen.",
            variable: "MILLPOND__OTLP__TRACES",
            ..KEY
        },
        Key {
            name: "metrics",
            value: "true",
            text: "The figures that Prometheus scrapes are sent.",
            variable: "MILLPOND__OTLP__METRICS",
            ..KEY
        },
        Key {
            name: "sample",
            value: "0.1",
            text: "Which share of calls has a span, from 0 to 1. Where a client sends traceparent, that decides instead.",
            variable: "MILLPOND__OTLP__SAMPLE",
            ..KEY
        },
        Key {
            name: "interval",
            value: "\"60s\"",
            text: "How often figures are sent.",
            variable: "MILLPOND__OTLP__INTERVAL",
            ..KEY
        },
        Key {
            name: "resource",
            value: "\"service.name=cache,deployment.environment=test\"",
            default: Some("service.name=millpond, and the machine's name as service.instance.id"),
            text: "Attributes of all that is sent, which win over the default.",
            variable: "MILLPOND__OTLP__RESOURCE",
            ..KEY
        },
    ],
};
