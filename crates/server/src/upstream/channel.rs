//! The connection to another server: made when it is first needed, and again when it broke.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Wanted;
use super::address::Address;
use crate::trust;

/// How long connecting may take, with the handshake.
const TIME: Duration = Duration::from_secs(10);
/// What may be on its way of one answer, and of all, in bytes.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Either kind of stream.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// The channel to a server.
///
/// # Errors
/// What is wrong with what it is to be known by, or shown.
pub(crate) async fn to(address: &Address, wanted: &Wanted) -> Result<Channel, String> {
    let tls = if address.tls {
        let name = ServerName::try_from(address.host().to_owned());
        let name = name.map_err(|_| format!("{address} has a host that no certificate can name"))?;
        Some((tls(wanted).await?, name))
    } else {
        None
    };
    let (host, port) = (address.host().to_owned(), address.port());
    let connect = service_fn(move |_: Uri| {
        let (tls, host) = (tls.clone(), host.clone());
        async move {
            let connected = timeout(TIME, connect(&host, port, tls)).await;
            let stream = connected.unwrap_or_else(|_| {
                Err(io::Error::other(format!("no connection within {} s", TIME.as_secs())))
            });
            stream.map(TokioIo::new)
        }
    });
    let origin = address.to_string();
    let uri: Uri = origin.parse().map_err(|_| format!("{address} is no address"))?;
    let endpoint = Endpoint::from_shared(origin).map_err(|error| error.to_string())?;
    let endpoint = endpoint
        .origin(uri)
        .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| error.to_string())?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(endpoint.connect_with_connector_lazy(connect))
}

async fn connect(
    host: &str,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
) -> io::Result<Box<dyn Duplex>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let Some((config, name)) = tls else { return Ok(Box::new(stream)) };
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| {
        // The library's words for a signer that nobody vouches for.
        let unknown = error.to_string().contains("UnknownIssuer");
        let remedy =
            if unknown { "; --ca-cert, or ca in the configuration, names who vouches for it" } else { "" };
        io::Error::other(format!("no TLS: {error}{remedy}"))
    })?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Ok(Box::new(stream)),
        _ => Err(io::Error::other("it speaks no HTTP/2 through TLS")),
    }
}

/// The same URL with TLS, if that is what is spoken at the port of one without: it answers a handshake, whoever vouches for it.
pub async fn url_with_tls(url: &str) -> Option<String> {
    let address: Address = url.parse().ok().filter(|address: &Address| !address.tls)?;
    let name = ServerName::try_from(address.host().to_owned()).ok()?;
    let config = trust::tls(RootCertStore::empty()).ok()?.with_no_client_auth();
    let shaken = timeout(TIME, async {
        let stream = TcpStream::connect((address.host(), address.port())).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    });
    // That nobody vouches for it is said once it has shown a certificate.
    let speaks = shaken.await.ok()?.map_or_else(
        |error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            cause.is_some_and(|cause| !matches!(cause, rustls::Error::InvalidMessage(_)))
        },
        |_| true,
    );
    speaks.then(|| Address { tls: true, ..address }.to_string())
}

async fn tls(wanted: &Wanted) -> Result<Arc<ClientConfig>, String> {
    let roots = if wanted.ca_pem.is_empty() {
        tokio::task::spawn_blocking(trust::of_the_system).await.map_err(|error| error.to_string())??
    } else {
        trust::given(&wanted.ca_pem).map_err(|error| format!("the CA cannot be used: {error}"))?
    };
    let builder = trust::tls(roots)?;
    let (chain, key) = &wanted.client_pem;
    let mut config = if chain.is_empty() && key.is_empty() {
        builder.with_no_client_auth()
    } else {
        let (chain, key) = (certificates(chain)?, private_key(key)?);
        let shown = builder.with_client_auth_cert(chain, key);
        shown.map_err(|error| format!("certificate and key cannot be used: {error}"))?
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &Bytes) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| "there is no certificate in what is to be shown: PEM is wanted".into())
}

fn private_key(pem: &Bytes) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "there is no private key to the certificate: PEM is wanted, without a passphrase".into())
}
