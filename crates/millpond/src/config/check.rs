//! What goes together: sizes that can work, and listeners that nobody can reach by accident.

use super::{Listener, MAX_SIZE_LEAST, REQUEST_MEMORY_LEAST, Settings, usage};
use crate::exit::Failure;

/// Refuses settings that cannot work or that open the cache to others without somebody having decided so.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    if let Some(size) = settings.max_size.filter(|size| *size < MAX_SIZE_LEAST) {
        return Err(usage(
            format!("a volume of at most {size} ({} bytes) is too small to work", size.0),
            format!("give --max-size at least {MAX_SIZE_LEAST}"),
        ));
    }
    if let Some(size) = settings.request_memory.filter(|size| *size < REQUEST_MEMORY_LEAST) {
        return Err(usage(
            format!("{size} ({} bytes) of memory for requests is too little for the largest of them", size.0),
            "give --request-memory at least 64MiB",
        ));
    }
    for listener in settings.listeners.iter().chain(&settings.metrics) {
        if !listener.insecure && !is_loopback(listener) {
            return Err(usage(
                format!(
                    "{} can be reached from other machines, and without TLS everybody there may pull and push",
                    listener.address
                ),
                "listen on 127.0.0.1 or [::1], or give --insecure if the network itself keeps strangers out",
            ));
        }
    }
    if settings.instances.iter().any(String::is_empty) {
        return Err(usage("an instance name is empty", "leave it out: the empty instance is always served"));
    }
    Ok(())
}

fn is_loopback(listener: &Listener) -> bool {
    listener.address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;
    use crate::span::Span;

    fn settings(address: &str, insecure: bool) -> Settings {
        Settings {
            data: "pond".into(),
            max_size: None,
            lease: Span { seconds: 0 },
            listeners: vec![Listener { address: address.parse().unwrap(), insecure, optional: false }],
            instances: Vec::new(),
            request_memory: None,
            metrics: None,
        }
    }

    #[test]
    fn only_loopback_may_be_open_without_a_decision() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            check(&settings(address, false)).unwrap();
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert!(
                check(&settings(address, false)).unwrap_err().to_string().contains("--insecure"),
                "{address}"
            );
            check(&settings(address, true)).unwrap();
        }
    }

    #[test]
    fn metrics_are_held_to_the_same() {
        let mut settings = settings("127.0.0.1:1", false);
        settings.metrics =
            Some(Listener { address: "0.0.0.0:2".parse().unwrap(), insecure: false, optional: false });
        assert!(check(&settings).is_err());
    }

    #[test]
    fn sizes_that_cannot_work_are_refused() {
        let small = Settings { max_size: Some(Size(7_999_999)), ..settings("[::1]:1", false) };
        assert!(check(&small).unwrap_err().to_string().contains("7999999"));
        check(&Settings { max_size: Some(MAX_SIZE_LEAST), ..small }).unwrap();
        let little = Settings { request_memory: Some(Size(1 << 20)), ..settings("[::1]:1", false) };
        assert!(check(&little).unwrap_err().to_string().contains("1048576"));
        check(&Settings { request_memory: Some(REQUEST_MEMORY_LEAST), ..little }).unwrap();
    }
}
