//! `millpond cat`: the bytes of a blob.

use clap::Args;
use millpond_proto::admin::ReadBlobRequest;

use super::ask::ServerFlags;
use super::digest::{self, Digest};
use super::print_to_reader;
use crate::exit::Failure;

/// Which blob, and which part of it.
#[derive(Debug, Args)]
pub(super) struct CatFlags {
    #[command(flatten)]
    server: ServerFlags,
    /// The blob, as names are listed with
    #[arg(value_name = "HASH/SIZE", value_parser = digest::parse)]
    digest: Digest,
    /// Begin behind so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// At most so many bytes [default: to the end]
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,
}

/// Does it.
pub(super) fn run(flags: &CatFlags) -> Result<(), Failure> {
    let question =
        ReadBlobRequest { digest: flags.digest.to_string(), offset: flags.offset, limit: flags.length };
    flags.server.ask(async |mut server| {
        let mut parts = server.read_blob(question).await?.into_inner();
        while let Some(part) = parts.message().await? {
            if !print_to_reader(&part.data)? {
                return Ok(());
            }
        }
        Ok(())
    })
}
