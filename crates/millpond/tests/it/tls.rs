//! Connections of clients through TLS, one by one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::TokioIo;
use millpond_proto::reapi::FindMissingBlobsRequest;
use millpond_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::battery::Blob;

/// Somebody with a connection.
pub(crate) struct Client {
    channel: Channel,
    connected: Arc<AtomicUsize>,
}

impl Client {
    /// Connects to an address of 127.0.0.1, whose certificate this CA vouches for; with a certificate and its key, or none.
    pub(crate) fn connect(runtime: &Runtime, address: &str, ca: &Path, shown: Option<[PathBuf; 2]>) -> Self {
        Self::try_connect(runtime, address, ca, shown).unwrap()
    }

    /// The same where nobody may be there.
    pub(crate) fn try_connect(
        runtime: &Runtime,
        address: &str,
        ca: &Path,
        shown: Option<[PathBuf; 2]>,
    ) -> Result<Self, tonic::transport::Error> {
        let connector = TlsConnector::from(Arc::new(config(ca, shown)));
        let connected = Arc::new(AtomicUsize::new(0));
        let (address, count) = (address.to_owned(), Arc::clone(&connected));
        let connect = service_fn(move |_: Uri| {
            let (connector, address) = (connector.clone(), address.clone());
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let stream = TcpStream::connect(address).await?;
                let server = ServerName::try_from("127.0.0.1").unwrap();
                std::io::Result::Ok(TokioIo::new(connector.connect(server, stream).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://127.0.0.1");
        let channel = runtime.block_on(endpoint.connect_with_connector(connect))?;
        Ok(Self { channel, connected })
    }

    /// What other calls are made on.
    #[cfg(feature = "real-clients")]
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// How often it was connected.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// What an upload comes to.
    pub(crate) fn push(&self, runtime: &Runtime, blob: &Blob) -> Result<(), Status> {
        let mut cas = ContentAddressableStorageClient::new(self.channel.clone());
        runtime.block_on(cas.batch_update_blobs(blob.update())).map(drop)
    }

    /// Whether a blob is there.
    pub(crate) fn finds(&self, runtime: &Runtime, blob: &Blob) -> Result<bool, Status> {
        let request =
            FindMissingBlobsRequest { blob_digests: vec![blob.digest.clone()], ..Default::default() };
        let mut cas = ContentAddressableStorageClient::new(self.channel.clone());
        let answer = runtime.block_on(cas.find_missing_blobs(request))?;
        Ok(answer.into_inner().missing_blob_digests.is_empty())
    }
}

fn config(ca: &Path, shown: Option<[PathBuf; 2]>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match shown {
        Some([certificate, key]) => {
            let certificate = CertificateDer::from_pem_file(certificate).unwrap();
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
