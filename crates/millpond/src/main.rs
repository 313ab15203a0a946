//! An artifact cache server for BuildStream and REAPI clients.

fn main() {}
