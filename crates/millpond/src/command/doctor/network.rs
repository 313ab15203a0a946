//! Where clients come in: that the addresses can be had, names lead there, and a client that comes that way is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;
use std::{fs, thread};

use millpond_bench::{Credentials, Error, Target, probe};
use millpond_identity::{Keys, Presented};
use millpond_proto::admin::ServerStatus;

use super::finding::Finding;
use super::patient::Patient;
use crate::bind;
use crate::config::Settings;
use crate::passed::Passed;

const PORTS: &str = "ports";
const NAMES: &str = "names";
const CLIENTS: &str = "clients";
/// How long a server may take to answer a client.
const ANSWER: Duration = Duration::from_secs(5);
/// So many names of a certificate are looked up.
const NAMES_MAX: usize = 4;

/// Whether the addresses can be listened on, or are answered at if a server listens.
pub(super) fn ports(patient: &Patient) -> Vec<Finding> {
    match &patient.status {
        Some(status) => answering(status, &patient.settings, names(&patient.settings).first()),
        None => bindable(&patient.settings),
    }
}

/// Where the names of the certificate lead to.
pub(super) fn of_names(patient: &Patient) -> Vec<Finding> {
    let names = names(&patient.settings).into_iter();
    together(names.map(|name| thread::spawn(move || resolved(&name))))
}

/// Whether clients are answered.
pub(super) fn clients(patient: &Patient) -> Vec<Finding> {
    let given = !patient.urls.is_empty();
    let names = names(&patient.settings);
    let urls = if given { patient.urls.clone() } else { at_names(patient, &names) };
    together(urls.into_iter().map(|url| {
        let credentials = trusting(&patient.settings);
        thread::spawn(move || from_elsewhere(&url, &credentials, given))
    }))
}

fn together(begun: impl Iterator<Item = thread::JoinHandle<Vec<Finding>>>) -> Vec<Finding> {
    let begun: Vec<_> = begun.collect();
    begun.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
}

/// The host names in the certificate of a server that speaks TLS.
fn names(settings: &Settings) -> Vec<String> {
    if !settings.listeners.iter().any(|listener| listener.tls.value) {
        return Vec::new();
    }
    let presented = fs::read(settings.certificate_file()).ok().and_then(|pem| Presented::read(&pem).ok());
    let names = presented.map_or_else(Vec::new, |presented| presented.names);
    names.into_iter().filter(|name| !name.contains('*')).take(NAMES_MAX).collect()
}

/// As a client that was given the CA of the keys, or as one that trusts whom the system trusts.
fn trusting(settings: &Settings) -> Credentials {
    let own = settings.certifies_itself();
    let ca_pem = own.then(|| fs::read(Keys::at(&settings.keys.value).ca_certificate()).ok()).flatten();
    Credentials { ca_pem, ..Credentials::default() }
}

/// What a start would find of its addresses.
fn bindable(settings: &Settings) -> Vec<Finding> {
    let mut passed = Passed::default();
    let bound = bind::all(&settings.listeners, &mut passed).map(drop).and_then(|()| {
        // One that nobody asked for may be taken.
        let metrics = settings.metrics.listener().filter(|listener| !listener.optional);
        bind::metrics(metrics, &mut passed).map(drop)
    });
    vec![match bound {
        Ok(()) => {
            let addresses: Vec<_> =
                settings.listeners.iter().map(|listener| listener.address.to_string()).collect();
            Finding::good(PORTS, format!("{} can be listened on", addresses.join(", ")))
        }
        // Without a server systemd may hold them, for the next one.
        Err(failure) => {
            let remedy =
                format!("{}; where systemd's millpond.socket is active, that holds it", failure.remedy());
            Finding::bad(PORTS, failure.sentence(), remedy)
        }
    }]
}

/// Whether each listener of a server answers somebody on this machine.
fn answering(status: &ServerStatus, settings: &Settings, name: Option<&String>) -> Vec<Finding> {
    let credentials = trusting(settings);
    let of = |listener: &millpond_proto::admin::Listener| {
        let address: SocketAddr = listener.address.parse().ok()?;
        let at = SocketAddr::new(here(address.ip()), address.port());
        let host = if listener.tls { name.cloned() } else { None };
        let scheme = if listener.tls { "grpcs" } else { "grpc" };
        let host = host.map_or_else(|| at.to_string(), |host| with_port(&host, at.port()));
        let target: Target = format!("{scheme}://{host}").parse().ok()?;
        Some(match probe(&target, Some(at), &credentials, ANSWER) {
            Ok(probed) => Finding::good(
                PORTS,
                format!("{address} answers, after {:.1} ms", probed.answered.as_secs_f64() * 1e3),
            ),
            Err(error) => Finding::bad(
                PORTS,
                format!("{address}, where the server listens, does not answer: {}", words(&error)),
                "see the server's log; a proxy in front may be the only one that it lets in",
            ),
        })
    };
    status.listeners.iter().filter_map(of).collect()
}

/// The address of this machine by which one of all addresses is reached.
fn here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Networks of containers may have no IPv6, and then that is all of IPv4's.
        IpAddr::V6(ip) if ip.is_unspecified() && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() => {
            Ipv4Addr::LOCALHOST.into()
        }
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The names of the certificate at the ports of a server that runs: where clients are likely to look for it.
fn at_names(patient: &Patient, names: &[String]) -> Vec<Target> {
    let listeners = patient.status.iter().flat_map(|status| &status.listeners);
    let addresses =
        listeners.filter(|listener| listener.tls).filter_map(|listener| listener.address.parse().ok());
    let urls = addresses.flat_map(|address: SocketAddr| {
        let led_here = names.iter().filter(move |name| may_lead_to(name, address.ip()));
        led_here.map(move |name| format!("grpcs://{}", with_port(name, address.port())))
    });
    urls.filter_map(|url| url.parse().ok()).collect()
}

/// Whether whoever looks for this name may come in at a listener with this address.
fn may_lead_to(name: &str, listener: IpAddr) -> bool {
    match name.parse::<IpAddr>() {
        Ok(ip) => listener == ip || listener.is_unspecified() && (listener.is_ipv6() || ip.is_ipv4()),
        Err(_) => name == "localhost" || !listener.is_loopback(),
    }
}

fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a client that looks for the server by this URL finds it. One that nobody gave may be none of its own: others may stand in
/// front of it.
fn from_elsewhere(url: &Target, credentials: &Credentials, given: bool) -> Vec<Finding> {
    let credentials = if url.tls() { credentials.clone() } else { Credentials::default() };
    vec![match probe(url, None, &credentials, ANSWER) {
        Ok(probed) => {
            let asks = if probed.wants_credential { ", and asks who it is" } else { "" };
            let (connected, answered) =
                (probed.connected.as_secs_f64() * 1e3, probed.answered.as_secs_f64() * 1e3);
            Finding::good(
                CLIENTS,
                format!("{url} answers a client{asks}: connected in {connected:.1} ms, answered in {answered:.1} ms"),
            )
            .with("connect_ms", connected)
        }
        Err(error) => {
            let says = format!("{url} does not answer a client: {}", words(&error));
            let remedy = "see that the server runs and listens there, that a firewall lets that port in, and that the certificate is \
                          for that name";
            if given {
                Finding::bad(CLIENTS, says, remedy)
            } else {
                Finding::look(CLIENTS, says, format!("{remedy}; or say by --url where clients find it"))
            }
        }
    }]
}

/// Where a name leads to.
fn resolved(name: &str) -> Vec<Finding> {
    if name.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    let found = match (name, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).collect::<Vec<_>>(),
        Err(error) => {
            return vec![Finding::look(
                NAMES,
                format!("{name}, which the certificate is for, is not found: {error}"),
                "have it in the DNS, or in /etc/hosts of each client",
            )];
        }
    };
    let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    // Only an address of this machine can be bound.
    let ours = found.iter().filter(|ip| UdpSocket::bind((**ip, 0)).is_ok()).count();
    vec![if ours == found.len() {
        Finding::good(NAMES, format!("{name} is {shown}, of this machine"))
    } else {
        Finding::look(
            NAMES,
            format!("{name} is {shown}, and not all of that is of this machine"),
            "so it is behind a proxy, a load balancer or NAT; else correct the name's records",
        )
    }]
}

fn words(error: &Error) -> String {
    match error {
        Error::Unreachable { message, .. } | Error::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_listeners_that_others_can_reach_by_them() {
        for (name, listener, leads) in [
            ("cache.example.org", "0.0.0.0", true),
            ("cache.example.org", "192.0.2.7", true),
            ("cache.example.org", "127.0.0.1", false),
            ("localhost", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "127.0.0.1", false),
            ("::1", "0.0.0.0", false),
            ("192.0.2.7", "::", true),
        ] {
            assert_eq!(may_lead_to(name, listener.parse().unwrap()), leads, "{name} {listener}");
        }
    }
}
