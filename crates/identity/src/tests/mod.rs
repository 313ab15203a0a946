mod authority;
mod authorized;
mod files;
mod identities;
mod jwt;
mod openssl;
mod register;

use std::fs;

use millpond_cache::{Grant, Rights};
use tempfile::TempDir;
use x509_parser::pem::parse_x509_pem;

use crate::{Keys, issue};

/// A time that certificates are made at: 2026-11-24.
const NOW: u64 = 1_795_500_000;
const DAY: u64 = 86_400;

fn pull() -> Grant {
    Grant::everywhere(Rights::Pull)
}

fn push() -> Grant {
    Grant::everywhere(Rights::Push)
}

/// A directory of keys with a CA and a server's certificate.
fn pond() -> (TempDir, Keys) {
    let folder = TempDir::new().unwrap();
    let keys = Keys::at(&folder.path().join("keys"));
    issue::init(&keys, &["cache.example.org".into()], 100, NOW).unwrap();
    (folder, keys)
}

/// The DER of a client's certificate as it lies there.
fn certificate_of(keys: &Keys, name: &str) -> Vec<u8> {
    parse_x509_pem(&fs::read(keys.client_certificate(name)).unwrap()).unwrap().1.contents
}
