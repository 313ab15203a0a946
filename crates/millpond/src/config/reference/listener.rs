//! `[[listener]]`

use super::{KEY, Key, Section};

pub(super) const LISTENER: Section = Section {
    name: "listener",
    many: true,
    at_start: true,
    text: "Where clients are served: one [[listener]] for each address. Listeners given by flags replace those of the \
           environment, and these replace all of the file.",
    another: &["address = \"192.0.2.10:11001\"", "insecure = true"],
    keys: &[
        Key {
            name: "address",
            value: "\"127.0.0.1:11001\"",
            default: Some("127.0.0.1:11001 and, where there is IPv6, [::1]:11001"),
            text: "Clients are served at this IP address and port. [::]:PORT serves IPv4 as well, and port 0 takes a \
                   free one.",
            flag: Some("--listen ADDR:PORT"),
            variable: "MILLPOND__LISTEN",
            listed: true,
            required: true,
            ..KEY
        },
        Key {
            name: "fd_name",
            value: "\"pull\"",
            default: Some("none"),
            text: "Where the service manager passes sockets with this name (FileDescriptorName= of a socket unit of systemd), \
                   clients are served there, and not at the address. Sockets without the name of a listener belong to the one \
                   with their address. \"metrics\" and \"admin\" are names of what these sections are about.",
            ..KEY
        },
        Key {
            name: "insecure",
            value: "false",
            text: "Others may reach this address without TLS: everybody there may pull and push. Without it the \
                   server does not start on such an address. Flag and variable are for all listeners and for metrics.",
            flag: Some("--insecure"),
            variable: "MILLPOND__INSECURE",
            ..KEY
        },
        Key {
            name: "tls",
            value: "false",
            text: "TLS is spoken here. Flag and variable are for all listeners; with them and no address given, everybody \
                   may pull at [::]:11001, and holders of keys and tokens push at [::]:11002.",
            flag: Some("--tls"),
            variable: "MILLPOND__TLS",
            ..KEY
        },
        Key {
            name: "allow",
            value: "\"push\"",
            text: "What is done here at most, whoever asks: \"pull\", \"push\" or \"admin\", each with those before it.",
            ..KEY
        },
        Key {
            name: "anonymous",
            value: "\"pull\"",
            default: Some("\"pull\" with TLS or behind a proxy, and else all that is allowed"),
            text: "What clients without a credential may do here: \"none\", \"pull\" or \"push\".",
            ..KEY
        },
        Key {
            name: "denied_writes",
            value: "\"refuse\"",
            text: "What becomes of writes of clients that may only pull: \"refuse\" tells them, \"drop\" answers as if they were \
                   kept and throws them away, for clients that upload logs whether they may or not. Never for a \
                   credential that does not hold.",
            ..KEY
        },
        Key {
            name: "proxies",
            value: "[\"192.0.2.10\", \"10.1.0.0/16\"]",
            default: Some("none"),
            text: "Addresses of the proxies in front of this listener: nobody else is believed what the next three are about.",
            ..KEY
        },
        Key {
            name: "proxy_protocol",
            value: "false",
            text: "Each connection of a proxy begins with a header of the PROXY protocol (version 1 or 2), which has the \
                   client's address.",
            ..KEY
        },
        Key {
            name: "certificate_header",
            value: "\"x-client-cert\"",
            default: Some("none"),
            text: "The header in which a proxy hands on its client's certificate, in PEM with percent signs or DER in \
                   base64. The proxy must take out what clients themselves send in it.",
            ..KEY
        },
        Key {
            name: "address_header",
            value: "\"x-forwarded-for\"",
            default: Some("none"),
            text: "The header in which a proxy hands on its client's address, for the log and the audit log. Of several addresses \
                   the last one counts, which is the one that the proxy has seen.",
            ..KEY
        },
    ],
};
