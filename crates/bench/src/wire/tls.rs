//! TLS to a server: whom it is taken from, what it is shown, and why a handshake failed, in words.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::credentials::{CredentialError, Credentials};
use crate::failure::Failure;

const HTTP2: &[u8] = b"h2";

/// How TLS is spoken to a server, and the sessions that it gave.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Fails if what was given cannot be used.
    pub(super) fn new(target: &Target, credentials: &Credentials) -> Result<Self, CredentialError> {
        let name = ServerName::try_from(target.host().to_owned())
            .map_err(|_| CredentialError::Name(target.host().to_owned()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CredentialError::Client)?
            .with_root_certificates(roots(credentials.ca_pem.as_deref())?);
        let mut config = match &credentials.client_pem {
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CredentialError::ClientKey)?;
                let chain = certificates(chain).ok_or(CredentialError::ClientCertificate)?;
                builder.with_client_auth_cert(chain, key).map_err(CredentialError::Client)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// The same for one more connection, whose sessions are its own.
    pub(super) fn apart(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(1);
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    /// Shakes hands, and takes up the session of before if there is one.
    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(self.name.clone(), stream).await.map_err(|error| self.told(&error))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Ok(stream),
            _ => Err(Failure::unreachable("it speaks no HTTP/2 through TLS")),
        }
    }

    /// Forgets the sessions, so that the next handshake is a whole one.
    pub(super) fn forget(&mut self) {
        *self = self.apart();
    }

    fn told(&self, error: &io::Error) -> Failure {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        Failure::unreachable(match cause {
            Some(cause) => words(cause, &self.name),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "it ended the connection during the TLS handshake".to_owned()
            }
            None => error.to_string(),
        })
    }
}

/// Whether a handshake took up a session of before.
pub(super) fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

fn words(error: &rustls::Error, name: &ServerName<'_>) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by nobody who is trusted here".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate is not for \"{}\"", name.to_str()),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired".to_owned(),
        rustls::Error::InvalidMessage(_) => "it speaks no TLS there".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("it refused the TLS handshake: {alert:?}"),
        other => format!("the TLS handshake failed: {other}"),
    }
}

/// Those that were given, or else the system's, of which some may be unreadable.
fn roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, CredentialError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in certificates(pem).ok_or(CredentialError::Ca)? {
                roots.add(certificate).map_err(|_| CredentialError::Ca)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(CredentialError::NoRoots);
            }
        }
    }
    Ok(roots)
}

/// All certificates of a file, if there are any and each can be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}
