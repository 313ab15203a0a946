//! The domain: names, closures, publishing, look-up.
