//! TLS of a listener: the server's certificate, which may be renewed while connections go on, and the client's, if it
//! shows one.
//!
//! A handshake proves that the client holds the key of the certificate that it shows, and no more. Whether the
//! certificate is one that counts is asked for each call (`identity`): so a refusal reaches the user with its reason,
//! and one that is revoked or expires in the middle of a connection counts no more.

mod broken;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use millpond_cache::Limit;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use self::broken::Broken;
use crate::acme::answers::Answers;

/// Certificates that a client may show, and all their bytes. Of more than that the first alone counts.
const CHAIN_MAX: usize = 8;
const CHAIN_BYTES_MAX: usize = 16 << 10;
/// What HTTP speaks on it, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What an ACME authority speaks that looks whether a name leads here (RFC 8737).
const CHALLENGE: &[u8] = b"acme-tls/1";
/// And that somebody did.
const LOOKED_AT: &str = "the challenge of an ACME authority was asked for";

/// The certificate or key of a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in PEM.
    #[error("there is no certificate in it: PEM is wanted, the server's own certificate first")]
    Certificate,
    /// No private key in PEM.
    #[error("there is no private key in it: PEM is wanted, without a passphrase")]
    Key,
    /// They do not fit each other, or are of a kind that is not known.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What listeners need to speak TLS. Shared by those that present the same certificate.
pub struct Tls {
    certificate: Arc<Presented>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Presents a certificate, with those that vouch for it behind it, in PEM.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        Self::answering(chain_pem, key_pem, None)
    }

    /// The same, and answers the challenges of an ACME authority (RFC 8737).
    pub fn answering(chain_pem: &[u8], key_pem: &[u8], answers: Option<Answers>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut protocols = PROTOCOLS.to_vec();
        // Last: it is spoken with those alone who offer nothing else.
        protocols.extend(answers.as_ref().map(|_| CHALLENGE));
        let certificate = RwLock::new(certified_key(&provider, chain_pem, key_pem)?);
        let certificate = Arc::new(Presented { certificate, answers });
        let proof = Arc::new(Proof(provider.signature_verification_algorithms));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(proof)
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.into_iter().map(<[u8]>::to_vec).collect();
        // BuildStream 1 connects anew for each element.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { certificate, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Presents another certificate to those who connect from now on.
    pub fn renew(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        let renewed = certified_key(&aws_lc_rs::default_provider(), chain_pem, key_pem)?;
        *self.certificate.certificate.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Shakes hands, within so long.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        time: Duration,
    ) -> Result<TlsStream<TcpStream>, Broken> {
        match timeout(time, self.acceptor.accept(stream)).await {
            // There is nothing more to it than the handshake.
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(CHALLENGE) => {
                Err(Broken { outcome: LOOKED_AT, detail: None })
            }
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Broken::by(&error)),
            Err(_) => {
                Limit::Handshake.met();
                Err(Broken {
                    outcome: "it took too long",
                    detail: Some(format!("longer than {} s", time.as_secs())),
                })
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn certified_key(
    provider: &CryptoProvider,
    chain_pem: &[u8],
    key_pem: &[u8],
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| TlsError::Key)?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

/// Whether a certificate and its key can be presented.
pub(crate) fn check(chain_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
    certified_key(&aws_lc_rs::default_provider(), chain_pem, key_pem).map(drop)
}

/// A certificate and its key, in DER, that answer a challenge. The two belong together: the usual look at that takes no
/// certificate with an extension of this kind.
pub(crate) fn challenge_certificate(
    certificate: Vec<u8>,
    key: Vec<u8>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = PrivateKeyDer::try_from(key).map_err(|_| TlsError::Key)?;
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key)?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(certificate)], key)))
}

/// The client's certificate in DER, and those behind it; none if it showed none.
pub(crate) fn client_chain(stream: &TlsStream<TcpStream>) -> Vec<Vec<u8>> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    // Others have two or three; what is kept of each connection is not for its client to choose.
    let bytes: usize = chain.iter().map(|der| der.len()).sum();
    let kept = if chain.len() > CHAIN_MAX || bytes > CHAIN_BYTES_MAX { 1 } else { CHAIN_MAX };
    chain.iter().take(kept).map(|der| der.to_vec()).collect()
}

#[derive(Debug)]
struct Presented {
    certificate: RwLock<Arc<CertifiedKey>>,
    answers: Option<Answers>,
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(answers) = &self.answers
            && hello.alpn().is_some_and(|mut offered| {
                offered.next().is_some_and(|first| first == CHALLENGE) && offered.next().is_none()
            })
        {
            return answers.certificate(hello.server_name()?);
        }
        Some(Arc::clone(&self.certificate.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Takes every certificate whose key the client holds.
#[derive(Debug)]
struct Proof(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Proof {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None named: clients send the one that they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
