//! JSON web tokens of issuers that are trusted (RFC 7519, OpenID Connect): whose they are, and what their holder may do.
//!
//! What a token says is believed only once its signature has been checked against a key of its issuer, by an algorithm that
//! the configuration allows and the key is for. Everything that refuses a token is looked at before that, since a refusal
//! needs no proof and costs less.
//!
//! **Invariant:** a token is kept as its hash alone, and no refusal has any of it but claims that were cleaned.
//! **Invariant:** keys come in by [`Issuers::replace_keys`]; who fetches them, and from where, is not known here.

mod claims;
mod discovery;
mod grants;
mod issuer;
mod issuers;
mod keys;
mod name;
mod presented;
mod refusal;

pub use discovery::{CONFIGURATION_PATH, keys_location};
pub use grants::ClaimGrant;
pub(crate) use issuer::LEEWAY;
pub use issuer::{Algorithm, Issuer};
pub use issuers::{Issuers, NotKnown};
pub use keys::KeySet;
pub use refusal::Refusal;
