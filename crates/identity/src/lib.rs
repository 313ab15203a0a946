//! Who is it? The directory of keys, with the certificates and tokens that were issued: looked up by the server, written
//! by the commands. And what the tokens of other issuers prove.
//!
//! **Invariant:** no socket and no TLS in here. **Invariant:** no secret is kept but private keys in files of their own:
//! of a token there is only a hash, and no error and no entry holds more.

mod authority;
mod certificate;
mod error;
mod files;
mod fingerprint;
mod grant;
mod identities;
pub mod issue;
pub mod jwt;
mod paths;
mod pattern;
pub mod public_name;
mod refused;
mod register;
mod revoke;
mod server_keys;
#[cfg(test)]
mod tests;
mod token;

pub use authority::AuthorityTerms;
pub use error::Error;
pub use files::{copy_keys, write_beside_keys, write_secret};
pub use fingerprint::Fingerprint;
pub use identities::{Credential, Expiring, Identities};
pub use paths::Keys;
pub use refused::{Declined, Refused, day};
pub use register::{CertificateEntry, Recall, Register, TokenEntry};
pub use revoke::{is_of_an_issuer, recall, revoke_certificates, revoke_tokens};
pub use server_keys::{Presented, ServerKeys, authority_for_clients};
pub use token::is_token;
