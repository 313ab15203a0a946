//! Why a handshake came to nothing, in words for whoever looks after the server: clients often show none.

use std::{fmt, io};

use rustls::{AlertDescription, Error};

/// A handshake that came to nothing.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Why.
    pub(crate) outcome: &'static str,
    /// What the library says.
    pub(crate) detail: Option<String>,
}

const NOTHING_IN_COMMON: &str =
    "the client speaks nothing that is spoken here: TLS 1.2 or 1.3 with its usual ciphers";

impl Broken {
    /// Whether it came to all that it was for.
    pub(crate) fn is_wanted(&self) -> bool {
        self.outcome == super::LOOKED_AT
    }

    /// By this error.
    pub(crate) fn by(error: &io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref()) {
            Some(of_tls) => Self { outcome: outcome(of_tls), detail: Some(of_tls.to_string()) },
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self { outcome: "the client went away in the middle of it", detail: None }
            }
            None => Self { outcome: "its connection broke", detail: Some(error.to_string()) },
        }
    }
}

fn outcome(error: &Error) -> &'static str {
    match error {
        Error::AlertReceived(AlertDescription::UnknownCA) => {
            "the client does not know the authority of the server's certificate: give it ca.crt, as server-cert of a \
             BuildStream remote"
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the client says that the server's certificate has expired"
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        ) => {
            "the client does not take the server's certificate: is the host name in it that the client connects to?"
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure)
        | Error::PeerIncompatible(_) => NOTHING_IN_COMMON,
        Error::AlertReceived(_) => "the client broke it off",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "what came is not TLS: does the client use https:// or grpcs://?"
        }
        _ => {
            "the client does not keep to the protocol, or does not hold the key of the certificate that it shows"
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.outcome)?;
        match &self.detail {
            Some(detail) => write!(to, " ({detail})"),
            None => Ok(()),
        }
    }
}
