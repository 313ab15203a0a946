//! Another server that runs, as a client of its public protocol: whatever it is, it is asked by Remote Asset if it has that, or
//! else as a server of BuildStream 1.
//!
//! **Invariant:** every call has a deadline, every answer a size, and nothing that it sends is trusted: the domain hashes it.

pub(crate) mod address;
mod blobs;
mod bounded;
pub(crate) mod calls;
pub(crate) mod channel;
mod names;
mod rate;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use millpond_cache::{
    Answer, Asked, Digest, Error, HadBlob, Result, Trouble, Upstream, UpstreamBlob, UpstreamName,
    UpstreamValue,
};
use millpond_proto::asset::FetchDirectoryRequest;
use millpond_proto::asset::fetch_client::FetchClient;
use millpond_proto::buildstream::StatusRequest;
use millpond_proto::buildstream::reference_storage_client::ReferenceStorageClient;
use millpond_proto::reapi::capabilities_client::CapabilitiesClient;
use millpond_proto::reapi::digest_function::Value as Function;
use millpond_proto::reapi::{GetCapabilitiesRequest, ServerCapabilities};
use tonic::Code;
use tonic::transport::Channel;

use self::address::Address;
use self::blobs::Reading;
use self::calls::Calls;
use self::rate::Rate;

/// The largest message that is taken from it, in bytes. Batches of blobs are kept far below.
const MESSAGE_MAX: usize = 16 << 20;
/// The largest answer about one name, in bytes: all that it tells is a digest, and whatever stands beside that.
const NAME_ANSWER_MAX: usize = 256 << 10;
/// What a batch of blobs may have where the server does not say, and has no capabilities to say it with, in bytes.
const BATCH_OF_OLD: u64 = 1 << 20;
/// What it may have at most: other clients' messages have 4 MiB.
const BATCH_MAX: u64 = 4_128_768;

/// Which server, what it is known by, and what it is shown.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) url: String,
    /// Its instance, empty for the one without a name.
    pub(crate) instance: String,
    /// Certificates in PEM that vouch for it; empty for those that the system trusts.
    pub(crate) ca_pem: Bytes,
    /// A certificate and its key in PEM; empty for none.
    pub(crate) client_pem: (Bytes, Bytes),
    /// Shown with each call; empty for none.
    pub(crate) token: String,
    /// How much is read of it; 0 for as much as comes.
    pub(crate) bytes_a_second: u64,
}

/// The secrets in it are nobody's to print.
impl fmt::Debug for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Wanted").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A server that answers.
#[derive(Clone, Debug)]
pub(crate) struct Remote(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    calls: Calls,
    channel: Channel,
    instance: String,
    rate: Rate,
    /// It has Remote Asset; else BuildStream 1's references.
    assets: bool,
    /// What a batch of blobs may have, in bytes.
    batch_max: u64,
    /// It reads blobs in batches, as far as is known.
    batches: AtomicBool,
}

impl Remote {
    /// Connects, and finds out what it speaks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it cannot be asked with what was given; [`Error::Elsewhere`] if it does not answer, or is no server
    /// that anything could be taken over from.
    pub(crate) async fn connect(wanted: &Wanted) -> Result<Self> {
        let address: Address = wanted.url.parse().map_err(Error::Invalid)?;
        if !wanted.token.is_empty() && !address.keeps_secrets() {
            return Err(Error::Invalid(format!(
                "a token for {address} could be read on its way: name a port with TLS, as in grpcs://HOST:PORT"
            )));
        }
        if !address.tls && (!wanted.ca_pem.is_empty() || !wanted.client_pem.0.is_empty()) {
            return Err(Error::Invalid(format!(
                "{address} is spoken to without TLS, where no certificate counts: name a port with TLS, as in grpcs://HOST:PORT"
            )));
        }
        let calls = Calls::new(&wanted.token).ok_or_else(|| {
            Error::Invalid(
                "the token is none: one line is wanted, as `millpond tokens issue` prints it".into(),
            )
        })?;
        let channel = channel::to(&address, wanted).await.map_err(Error::Invalid)?;
        let mut shared = Shared {
            calls,
            channel,
            instance: wanted.instance.clone(),
            rate: Rate::new(wanted.bytes_a_second),
            assets: true,
            batch_max: BATCH_MAX,
            batches: AtomicBool::new(true),
        };
        let unfit = |why: String| Error::Elsewhere(format!("{address}: {why}"));
        shared.batch_max = match (shared.batch_max().await, address.tls) {
            (Err(why), false) => {
                let with_tls = channel::url_with_tls(&wanted.url).await;
                return Err(unfit(with_tls.map_or(why, |url| format!("this port speaks TLS: {url}"))));
            }
            (told, _) => told.map_err(unfit)?,
        };
        shared.assets = shared.has_assets().await.map_err(unfit)?;
        if !shared.assets && !shared.has_references().await.map_err(unfit)? {
            return Err(unfit(
                "it has no names, neither by Remote Asset nor as a server of BuildStream 1".into(),
            ));
        }
        if wanted.bytes_a_second > 0 {
            // So that no batch takes much more than a second's share.
            shared.batch_max = shared.batch_max.min(wanted.bytes_a_second);
        }
        Ok(Self(Arc::new(shared)))
    }
}

impl Shared {
    /// Of its capabilities what matters here.
    async fn batch_max(&self) -> std::result::Result<u64, Trouble> {
        let answer = self.calls.ask(0, || {
            let request = self.calls.request(GetCapabilitiesRequest { instance_name: self.instance.clone() });
            let client = CapabilitiesClient::new(self.channel.clone());
            let mut client = client.max_decoding_message_size(NAME_ANSWER_MAX);
            async move { client.get_capabilities(request).await }
        });
        let ServerCapabilities { cache_capabilities, .. } = match answer.await {
            Ok(answer) => answer,
            // The first servers of BuildStream 1 had none.
            Err(refusal) if refusal.code() == Some(Code::Unimplemented) => return Ok(BATCH_OF_OLD),
            Err(refusal) => return Err(refusal.words()),
        };
        let Some(cache) = cache_capabilities else { return Ok(BATCH_OF_OLD) };
        let functions = &cache.digest_functions;
        if !functions.is_empty() && !functions.contains(&(Function::Sha256 as i32)) {
            return Err("it names blobs by another hash than SHA-256, and this one does not".into());
        }
        Ok(match u64::try_from(cache.max_batch_total_size_bytes) {
            Ok(max) if max > 0 => max.min(BATCH_MAX),
            _ => BATCH_MAX,
        })
    }

    /// Without a URI, a server that has them finds the request invalid.
    async fn has_assets(&self) -> std::result::Result<bool, Trouble> {
        let answer = self.calls.ask(0, || {
            let message =
                FetchDirectoryRequest { instance_name: self.instance.clone(), ..Default::default() };
            let request = self.calls.request(message);
            let client = FetchClient::new(self.channel.clone());
            let mut client = client.max_decoding_message_size(NAME_ANSWER_MAX);
            async move { client.fetch_directory(request).await }
        });
        match answer.await {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code() == Some(Code::Unimplemented) => Ok(false),
            Err(refusal) if refusal.is_of_all() => Err(refusal.words()),
            Err(_) => Ok(true),
        }
    }

    async fn has_references(&self) -> std::result::Result<bool, Trouble> {
        let answer = self.calls.ask(0, || {
            let request = self.calls.request(StatusRequest { instance_name: self.instance.clone() });
            let mut client = ReferenceStorageClient::new(self.channel.clone());
            async move { client.status(request).await }
        });
        match answer.await {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code() == Some(Code::Unimplemented) => Ok(false),
            Err(refusal) if refusal.is_of_all() => Err(refusal.words()),
            Err(_) => Ok(true),
        }
    }

    fn reads_batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
    }
}

impl Upstream for Remote {
    fn value<'a>(&'a self, name: &'a UpstreamName) -> Answer<'a, Option<UpstreamValue>> {
        Box::pin(self.0.value(name))
    }

    fn missing(&self, digests: Vec<Digest>) -> Answer<'_, Vec<Digest>> {
        Box::pin(self.0.missing(digests))
    }

    fn read_whole<'a>(&'a self, digests: &'a [Digest]) -> Asked<'a, Vec<HadBlob>> {
        Box::pin(blobs::read_whole(&self.0, digests))
    }

    fn read(&self, digest: Digest) -> Box<dyn UpstreamBlob> {
        Box::new(Reading::new(Arc::clone(&self.0), digest))
    }

    fn lost(&self) -> Option<Trouble> {
        self.0.calls.lost()
    }
}
