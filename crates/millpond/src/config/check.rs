//! What goes together: sizes that can work, addresses that are given once, and listeners that nobody can reach by
//! accident. Whatever can be refused by looking at the settings alone is refused here, before anything is made.

use millpond_cache::{InstanceName, Rights};

use super::acme;
use super::{
    Authority, BLOB_SIZE_LEAST, Given, Instance, Issuer, Limit, Listener, MAX_SIZE_LEAST, Place,
    REQUEST_MEMORY_LEAST, Scrub, Settings, Socket, otlp, usage,
};
use crate::exit::Failure;
use crate::span::Span;

/// What is looked up can be promised for so long at most.
const LEASE_MOST: Span = Span { seconds: 7 * 24 * 3600 };
/// Everything is read again in so much time at the least.
const SCRUB_LEAST: Span = Span { seconds: 60 };
/// What to do about something given twice.
const TAKE_OUT: &str = "take one of the two out";
/// What stands before the names of users who come by the administration socket.
const LOCAL: &str = "local";

/// Refuses settings that cannot work or that open the cache to others without somebody having decided so.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    if settings.data.value.as_os_str().is_empty() {
        return Err(usage(
            format!("{}: the path of the data directory is empty", settings.data.place),
            "give the path of a directory, or leave it out for millpond-data in the current one",
        ));
    }
    if let Some(Given { value: Limit::Bytes(size), place }) = &settings.max_size
        && *size < MAX_SIZE_LEAST
    {
        let share = if (1..=100).contains(&size.0) {
            format!(", or write \"{}%\" for a share of the file system", size.0)
        } else {
            String::new()
        };
        return Err(usage(
            format!("{place}: a volume of at most {size} ({} bytes) is too small to work", size.0),
            format!("give at least {MAX_SIZE_LEAST}{share}"),
        ));
    }
    if let Some(size) = settings.request_memory.as_ref().filter(|size| size.value < REQUEST_MEMORY_LEAST) {
        let (place, size) = (&size.place, size.value);
        return Err(usage(
            format!(
                "{place}: {size} ({} bytes) of memory for requests is too little for the largest of them",
                size.0
            ),
            "give at least 96MiB",
        ));
    }
    if let Some(size) = settings.max_cas_blob_size.as_ref().filter(|size| size.value < BLOB_SIZE_LEAST) {
        let sentence = format!("{}: blobs of at most {} are too small for anybody", size.place, size.value);
        return Err(usage(sentence, format!("give at least {BLOB_SIZE_LEAST}")));
    }
    if let Scrub::Each(span) = settings.scrub.value
        && span < SCRUB_LEAST
    {
        let sentence = format!("{}: {span} is too short a time to read everything in", settings.scrub.place);
        return Err(usage(sentence, format!("give {SCRUB_LEAST} or more, or \"off\"")));
    }
    if settings.lease.value > LEASE_MOST {
        let sentence = format!("{}: a lease of {} is too long", settings.lease.place, settings.lease.value);
        return Err(usage(
            sentence,
            "give at most 7d: what is to be kept for longer is not looked up again and again",
        ));
    }
    check_limits(settings)?;
    if let Some(Given { value: Socket::At(path), place }) = &settings.admin_socket
        && path.as_os_str().is_empty()
    {
        let sentence = format!("{place}: the path of the administration socket is empty");
        return Err(usage(sentence, "give a path, or off for none"));
    }
    let mut listeners: Vec<_> = settings.listeners.iter().chain(settings.metrics.listener()).collect();
    for listener in &listeners {
        check_rights(listener)?;
        check_reach(listener)?;
        check_proxies(listener)?;
    }
    check_fd_names(&settings.listeners)?;
    check_authorities(settings)?;
    check_keys(settings)?;
    acme::check(settings)?;
    check_issuers(&settings.issuers)?;
    // Each port 0 is another port.
    listeners.retain(|listener| listener.address.port() != 0);
    check_twice(&listeners)?;
    for (number, Instance { name: instance, .. }) in settings.instances.iter().enumerate() {
        if settings.instances.iter().take(number).any(|known| known.name.value == instance.value) {
            let sentence = format!("{}: the instance \"{}\" is given twice", instance.place, instance.value);
            return Err(usage(sentence, TAKE_OUT));
        }
        if instance.value.is_empty() {
            continue;
        }
        InstanceName::check(&instance.value).map_err(|error| {
            usage(format!("{}: {error}", instance.place), "letters, digits and any of - _ . / make a name")
        })?;
    }
    otlp::check(settings)?;
    check_retention(settings)
}

/// A rule that does nothing takes what it matches from the rules behind it, which nobody means.
fn check_retention(settings: &Settings) -> Result<(), Failure> {
    let idle = (1..).zip(&settings.retention).find(|(_, rule)| !rule.acts());
    let Some((number, rule)) = idle else { return Ok(()) };
    let place = rule.place().map(|place| format!("{place}: ")).unwrap_or_default();
    Err(usage(
        format!(
            "{place}rule {number} of [[retention]] does not say what becomes of the names that it matches"
        ),
        "give keep, keep_newest, let_go_after or at_most; keep_newest = 0 takes names out of the rules behind it",
    ))
}

/// Without any of these nothing would be served.
fn check_limits(settings: &Settings) -> Result<(), Failure> {
    let per_address = settings.connections_per_address.iter();
    for count in [&settings.connections, &settings.streams].into_iter().chain(per_address) {
        if count.value == 0 {
            return Err(usage(format!("{}: with 0 nobody is served", count.place), "give at least 1"));
        }
    }
    let quotas = settings.quotas.iter().filter_map(|quota| quota.requests_per_minute.as_ref());
    if let Some(count) = quotas.into_iter().find(|count| count.value == 0) {
        let sentence = format!("{}: with 0 requests these identities are never served", count.place);
        return Err(usage(sentence, "give at least 1, or revoke their keys and tokens"));
    }
    for span in [&settings.unread, &settings.idle] {
        if span.value.seconds == 0 {
            return Err(usage(format!("{}: with 0s nobody could be served", span.place), "give at least 1s"));
        }
    }
    if settings.look_up_time.value.seconds == 0 {
        let sentence = format!("{}: with 0s everything would be a miss", settings.look_up_time.place);
        return Err(usage(sentence, "give at least 1s"));
    }
    settings.requests.check()
}

/// Who may do what there, as far as it makes sense.
fn check_rights(listener: &Listener) -> Result<(), Failure> {
    let Listener { allow, anonymous, .. } = listener;
    if allow.value.0 == Rights::Nothing {
        let sentence = format!("{}: with none nobody is served at {}", allow.place, listener.address);
        return Err(usage(sentence, "write pull, push or admin, or take the listener out"));
    }
    let Some(anonymous) = anonymous else { return Ok(()) };
    if anonymous.value.0 > allow.value.0 || anonymous.value.0 == Rights::Admin {
        return Err(usage(
            format!(
                "{}: {} is more than anybody without a credential may do there",
                anonymous.place, anonymous.value
            ),
            format!("write none or pull, or push where the listener allows it; it allows {}", allow.value),
        ));
    }
    Ok(())
}

/// Each names one listener.
fn check_fd_names(listeners: &[Listener]) -> Result<(), Failure> {
    let names: Vec<_> = listeners.iter().filter_map(|listener| listener.fd_name.as_ref()).collect();
    for (number, Given { value, place }) in names.iter().enumerate() {
        if names.iter().take(number).any(|known| known.value == *value) {
            let sentence = format!("{place}: sockets named \"{value}\" are another listener's already");
            return Err(usage(sentence, "give each listener a name of its own"));
        }
    }
    Ok(())
}

/// Nobody would be believed, or everybody.
fn check_proxies(listener: &Listener) -> Result<(), Failure> {
    let Listener { proxies, proxy_protocol, certificate_header, address_header, .. } = listener;
    let networks = proxies.iter().flat_map(|proxies| &proxies.value.0);
    let spoken = proxy_protocol.value.then_some(&proxy_protocol.place);
    let header = certificate_header.as_ref().or(address_header.as_ref());
    if let Some(place) = spoken.or(header.map(|given| &given.place))
        && proxies.is_none()
    {
        let sentence = format!("{place}: no proxy is named that could be believed");
        return Err(usage(sentence, "give its address in proxies, or take that line out"));
    }
    if let Some(everybody) = networks.into_iter().find(|network| network.prefix_len() == 0) {
        let sentence = format!("proxies of {}: {everybody} is everybody, and no proxy", listener.place);
        return Err(usage(sentence, "give the address of the proxy, or the network that is its alone"));
    }
    Ok(())
}

/// Names that tell one from the other, and from what else an identity is called.
fn check_authorities(settings: &Settings) -> Result<(), Failure> {
    for (number, Authority { name, allow, .. }) in settings.authorities.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.value.is_empty() || name.value.len() > 64 || !name.value.bytes().all(plain) {
            let sentence = format!("{}: \"{}\" is no name of an authority", name.place, name.value);
            return Err(usage(sentence, "letters, digits and any of - _ . make a name, up to 64 of them"));
        }
        let issuers = settings.issuers.iter().map(|issuer| issuer.name.value.0.as_str());
        if [LOCAL].into_iter().chain(issuers).any(|taken| taken == name.value) {
            let sentence =
                format!("{}: others than those of an authority are called \"{}:\"", name.place, name.value);
            return Err(usage(sentence, "give the authority another name"));
        }
        if settings.authorities.iter().take(number).any(|known| known.name.value == name.value) {
            let sentence = format!("{}: the authority \"{}\" is given twice", name.place, name.value);
            return Err(usage(sentence, TAKE_OUT));
        }
        if allow.value.0 == Rights::Nothing {
            let sentence = format!("{}: with none its clients are known and may do nothing", allow.place);
            return Err(usage(sentence, "write pull, push or admin, or take the authority out"));
        }
    }
    Ok(())
}

fn check_keys(settings: &Settings) -> Result<(), Failure> {
    let (sole, missing) = match (&settings.certificate, &settings.key) {
        (Some(certificate), None) => (certificate, "key"),
        (None, Some(key)) => (key, "certificate"),
        _ => return Ok(()),
    };
    let sentence = format!("{}: of certificate and key, one alone is of no use", sole.place);
    Err(usage(
        sentence,
        format!("give {missing} in [identity] as well, or neither for those of `millpond keys init`"),
    ))
}

/// Two with one name or URL could not be told from each other, and one without grants would be of no use.
fn check_issuers(issuers: &[Issuer]) -> Result<(), Failure> {
    for (number, issuer) in issuers.iter().enumerate() {
        let Issuer { name, url, .. } = issuer;
        let before = || issuers.iter().take(number);
        if before().any(|other| other.name.value == name.value) {
            let sentence = format!("{}: the issuer \"{}\" is given twice", name.place, name.value);
            return Err(usage(sentence, "give each issuer a name of its own"));
        }
        if before().any(|other| other.url.value.text == url.value.text) {
            let sentence = format!("{}: the issuer {} is given twice", url.place, url.value);
            return Err(usage(sentence, "put the grants of both below one of them"));
        }
        if issuer.grants.is_empty() {
            let sentence = format!("{}: nobody with a token of {} may do anything", name.place, name.value);
            return Err(usage(sentence, "write [[issuer.grant]] below it, with claims and allow"));
        }
        for grant in &issuer.grants {
            if grant.allow.value.0 == Rights::Nothing {
                let sentence =
                    format!("{}: a grant of none takes nothing from the others", grant.allow.place);
                return Err(usage(sentence, "write pull, push or admin, or take the grant out"));
            }
            if let (Some(projects), Err(error)) = (&grant.projects, grant.of_projects()) {
                return Err(usage(format!("{}: {error}", projects.place), "write names of projects"));
            }
        }
    }
    Ok(())
}

/// Refuses an address that others can reach and push to without somebody having decided so.
pub(crate) fn check_reach(listener: &Listener) -> Result<(), Failure> {
    let open = !listener.tls.value || listener.bounds().anonymous > Rights::Pull;
    if !open || listener.insecure.value || listener.address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let decide = match listener.place {
        Place::Flag(_) | Place::Default(_) => "give --insecure",
        Place::Variable(_) => "set MILLPOND__INSECURE=true",
        Place::File { .. } => "add the line insecure = true",
    };
    Err(usage(
        format!(
            "{}: {} can be reached from other machines, and {} everybody there may pull and push",
            listener.place,
            listener.address,
            if listener.tls.value { "without a credential" } else { "without TLS" }
        ),
        format!(
            "let it speak TLS (`millpond keys init`, then --tls), listen on 127.0.0.1 or [::1], or {decide} if the network \
             itself keeps strangers out"
        ),
    ))
}

/// Binding would find it out as well, and blame somebody else.
fn check_twice(listeners: &[&Listener]) -> Result<(), Failure> {
    for (number, first) in listeners.iter().enumerate() {
        for second in listeners.iter().skip(number + 1).filter(|second| !second.optional) {
            let twice = if first.address == second.address {
                format!("{} is given twice", first.address)
            } else if covers(first, second, listeners) {
                format!("{} is given twice, since {} serves it as well", second.address, first.address)
            } else if covers(second, first, listeners) {
                format!("{} is given twice, since {} serves it as well", first.address, second.address)
            } else {
                continue;
            };
            let places = if first.place == second.place {
                first.place.to_string()
            } else {
                format!("{} and {}", first.place, second.place)
            };
            return Err(usage(format!("{places}: {twice}"), TAKE_OUT));
        }
    }
    Ok(())
}

/// Whether a socket on `wide` serves `narrow` too. `[::]` serves IPv4 unless `0.0.0.0` is served beside it.
fn covers(wide: &Listener, narrow: &Listener, all: &[&Listener]) -> bool {
    let (wide_ip, narrow_ip) = (wide.address.ip().to_canonical(), narrow.address.ip().to_canonical());
    let port = wide.address.port();
    if port != narrow.address.port() {
        return false;
    }
    if wide_ip.is_ipv4() == narrow_ip.is_ipv4() {
        return wide_ip.is_unspecified() || wide_ip.is_ipv4() && wide_ip == narrow_ip;
    }
    let ipv4_apart = |other: &&Listener| {
        other.address.port() == port && other.address.is_ipv4() && other.address.ip().is_unspecified()
    };
    wide_ip.is_ipv6() && wide_ip.is_unspecified() && !all.iter().any(ipv4_apart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Keeps, Metrics};
    use crate::size::Size;
    use crate::span::Span;

    fn listener(address: &str, insecure: bool) -> Listener {
        Listener::open(address, insecure)
    }

    fn settings(address: &str, insecure: bool) -> Settings {
        let metrics = Metrics::Off(Place::Flag("--metrics"));
        Settings { listeners: vec![listener(address, insecure)], metrics, ..Settings::default() }
    }

    fn instance(name: &str) -> Instance {
        let name = Given::by_flag("--instance", name.to_owned());
        Instance { name, keeps: Given::by_flag("--instance", Keeps::default()) }
    }

    #[test]
    fn limits_of_nothing_are_refused() {
        let zero = |key| Given { value: 0, place: Place::Default(key) };
        let nobody = Settings { streams: zero("streams"), ..settings("[::1]:1", false) };
        assert!(check(&nobody).unwrap_err().to_string().contains("streams: with 0"));
        let nobody = Settings { connections: zero("connections"), ..settings("[::1]:1", false) };
        assert!(check(&nobody).unwrap_err().to_string().contains("connections: with 0"));
        let look_up_time = Given { value: Span { seconds: 0 }, place: Place::Default("look_up_time") };
        assert!(check(&Settings { look_up_time, ..settings("[::1]:1", false) }).is_err());
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
        settings.metrics = Metrics::On(Box::new(listener("0.0.0.0:2", false)));
        assert!(check(&settings).is_err());
    }

    #[test]
    fn addresses_are_given_once() {
        let twice = |addresses: &[&str], metrics: &str| {
            let listeners = addresses.iter().map(|address| listener(address, true)).collect();
            let metrics = Metrics::On(Box::new(listener(metrics, true)));
            check(&Settings { listeners, metrics, ..settings("127.0.0.1:1", true) })
        };
        for addresses in [
            &["127.0.0.1:1", "[::1]:1", "127.0.0.2:1"][..],
            &["[::]:1", "0.0.0.0:1"],
            &["0.0.0.0:1", "[::1]:1"],
            &["[::]:1", "127.0.0.1:2"],
            &["127.0.0.1:0", "127.0.0.1:0", "0.0.0.0:0"],
            &["[fe80::1%1]:1", "[fe80::1%2]:1"],
        ] {
            twice(addresses, "127.0.0.1:9").unwrap();
        }
        for addresses in [
            &["127.0.0.1:1", "127.0.0.1:1"][..],
            &["[::]:1", "127.0.0.1:1"],
            &["[::1]:1", "[::]:1"],
            &["0.0.0.0:1", "127.0.0.1:1"],
            &["[::]:1", "0.0.0.0:1", "127.0.0.1:1"],
            &["[::ffff:127.0.0.1]:1", "127.0.0.1:1"],
            &["127.0.0.1:9"],
            &["[::]:9"],
        ] {
            let said = twice(addresses, "127.0.0.1:9").unwrap_err().to_string();
            assert!(said.contains("is given twice"), "{addresses:?}: {said}");
        }
    }

    #[test]
    fn sizes_that_cannot_work_are_refused() {
        let size = |size| Some(Given::by_flag("--max-size", Limit::Bytes(size)));
        let small = Settings { max_size: size(Size(7_999_999)), ..settings("[::1]:1", false) };
        assert!(check(&small).unwrap_err().to_string().contains("7999999"));
        check(&Settings { max_size: size(MAX_SIZE_LEAST), ..small }).unwrap();
        let size = |size| Some(Given::by_flag("max_cas_blob_size", size));
        let small = Settings { max_cas_blob_size: size(Size(999_999)), ..settings("[::1]:1", false) };
        assert!(check(&small).unwrap_err().to_string().contains("at most 999.9 KB"));
        check(&Settings { max_cas_blob_size: size(BLOB_SIZE_LEAST), ..small }).unwrap();
    }

    #[test]
    fn empty_data_directory_and_malformed_or_repeated_instances_are_refused() {
        let data = Given::by_flag("--data", "".into());
        let said = check(&Settings { data, ..settings("[::1]:1", false) }).unwrap_err().to_string();
        assert!(said.starts_with("error: --data: the path"), "{said}");
        for name in ["a b", "x/blobs"] {
            let instances = vec![instance(name)];
            let said = check(&Settings { instances, ..settings("[::1]:1", false) }).unwrap_err().to_string();
            assert!(said.starts_with("error: --instance: "), "{said}");
        }
        check(&Settings { instances: vec![instance("")], ..settings("[::1]:1", false) }).unwrap();
        let instances = vec![instance("main"); 2];
        let said = check(&Settings { instances, ..settings("[::1]:1", false) }).unwrap_err().to_string();
        assert!(said.contains("the instance \"main\" is given twice"), "{said}");
        let memory = |size| Some(Given::by_flag("--request-memory", size));
        let little = Settings { request_memory: memory(Size(1 << 20)), ..settings("[::1]:1", false) };
        assert!(check(&little).unwrap_err().to_string().contains("1048576"));
        check(&Settings { request_memory: memory(REQUEST_MEMORY_LEAST), ..little }).unwrap();
    }
}
