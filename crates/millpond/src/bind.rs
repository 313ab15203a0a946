//! Binds the addresses that clients and Prometheus connect to.
//!
//! **Invariant:** an IPv6 socket serves IPv4 as well exactly when its address is `[::]` and no listener asks for
//! `0.0.0.0` at the same port. Every other IPv6 socket is set to IPv6 alone, whatever the system's default is.
//!
//! Binding is not yet listening: nobody can connect until [`Bound::listen`], which comes when there is an answer. Binding
//! comes first of all, so that an address that cannot be had is told before anything is made.
//!
//! What the service manager passed is bound already, and it listens: whoever connects waits in its queue.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{FdName, Given, Listener, Settings, check_reach};
use crate::exit::{Code, Failure};
use crate::passed::Passed;

/// Connections that the system holds for us while all of ours are being accepted.
const BACKLOG: i32 = 1024;

/// A bound socket that does not listen yet, unless it was passed.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    asked: Listener,
    listens: bool,
}

impl Bound {
    fn new(socket: Socket, asked: &Listener) -> Self {
        Self { socket, asked: asked.clone(), listens: false }
    }

    /// What was passed for a listener. It is held to what the listener's own address would be.
    fn passed(passed: Vec<(TcpListener, SocketAddr)>, asked: &Listener) -> Result<Vec<Self>, Failure> {
        let bound = |(socket, address): (TcpListener, SocketAddr)| {
            let asked = Listener { address, ..asked.clone() };
            check_reach(&asked)?;
            Ok(Self { socket: socket.into(), asked, listens: true })
        };
        passed.into_iter().map(bound).collect()
    }

    /// What it was bound for.
    pub(crate) fn asked(&self) -> &Listener {
        &self.asked
    }

    /// Lets clients connect. The socket is ready to be handed to tokio.
    pub(crate) fn listen(self) -> Result<TcpListener, Failure> {
        let fail = |error| refused(&self.asked, &error);
        if !self.listens {
            self.socket.listen(BACKLOG).map_err(fail)?;
        }
        self.socket.set_nonblocking(true).map_err(fail)?;
        Ok(self.socket.into())
    }
}

/// Binds all for which nothing was passed. One that is optional and cannot be had because there is no IPv6 here is left out.
pub(crate) fn all(listeners: &[Listener], passed: &mut Passed) -> Result<Vec<Bound>, Failure> {
    let mut bound = Vec::new();
    for listener in listeners {
        let name = listener.fd_name.as_ref().map(|name| name.value.as_str());
        let of_listener = passed.tcp(name, listener.address);
        if !of_listener.is_empty() {
            bound.extend(Bound::passed(of_listener, listener)?);
            continue;
        }
        match bind(listener.address, shares_port_with_ipv4(listener.address, listeners)) {
            Ok(socket) => bound.push(Bound::new(socket, listener)),
            Err(error) if listener.optional && !is_in_use(&error) => {
                tracing::info!("{} is not to be had here and left out: {error}", listener.address);
            }
            Err(error) => return Err(refused(listener, &error)),
        }
    }
    Ok(bound)
}

/// Binds where metrics are served. An optional address that cannot be had is a warning, now or when it is listened on:
/// a second server on one machine should not fail for want of a port that nobody asked for.
pub(crate) fn metrics(listener: Option<&Listener>, passed: &mut Passed) -> Result<Option<Bound>, Failure> {
    let Some(listener) = listener else { return Ok(None) };
    let mut of_metrics = Bound::passed(passed.tcp(Some(FdName::METRICS), listener.address), listener)?;
    if let Some(bound) = of_metrics.pop() {
        return if of_metrics.is_empty() { Ok(Some(bound)) } else { Err(too_many_for_metrics()) };
    }
    match bind(listener.address, false) {
        Ok(socket) => Ok(Some(Bound::new(socket, listener))),
        Err(error) => unless_optional(listener, refused(listener, &error)),
    }
}

/// Binds where an ACME authority finds documents, if it is to find any.
pub(crate) fn challenges(settings: &Settings) -> Result<Option<TcpListener>, Failure> {
    let address = settings.acme.as_ref().and_then(|acme| acme.http_address.as_ref());
    let Some(Given { value: address, place }) = address else { return Ok(None) };
    let listened_on = bind(*address, false).and_then(|socket| {
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    });
    listened_on.map(Some).map_err(|error| {
        let code = if is_in_use(&error) { Code::AddressInUse } else { Code::Failed };
        Failure::new(
            code,
            format!("{place}: {address} cannot be listened on: {error}"),
            "give another http_address that port 80 leads to, or challenge = \"tls-alpn-01\"",
        )
    })
}

/// Lets Prometheus connect.
pub(crate) fn listen_for_metrics(bound: Option<Bound>) -> Result<Option<TcpListener>, Failure> {
    let Some(bound) = bound else { return Ok(None) };
    let listener = bound.asked.clone();
    bound.listen().map(Some).or_else(|failure| unless_optional(&listener, failure))
}

fn too_many_for_metrics() -> Failure {
    Failure::new(
        Code::Usage,
        "the service manager passed more than one socket for metrics",
        "leave one of them in the socket unit: a port without an address is all addresses",
    )
}

fn unless_optional<T>(listener: &Listener, failure: Failure) -> Result<Option<T>, Failure> {
    if !listener.optional {
        return Err(failure);
    }
    tracing::warn!(
        "no metrics are served, since {}; --metrics ADDR:PORT names another address",
        failure.sentence()
    );
    Ok(None)
}

/// The address that stands for all of this machine: of IPv6, which serves IPv4 as well, where there is any.
pub(crate) fn everywhere() -> IpAddr {
    let ipv6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    if bind(SocketAddr::new(ipv6, 0), false).is_ok() { ipv6 } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn shares_port_with_ipv4(address: SocketAddr, listeners: &[Listener]) -> bool {
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    listeners.iter().any(|other| other.address == ipv4)
}

fn bind(address: SocketAddr, ipv4_served_elsewhere: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart would have to wait for the connections of the server before to time out.
    socket.set_reuse_address(true)?;
    if let IpAddr::V6(ip) = address.ip() {
        socket.set_only_v6(!ip.is_unspecified() || ipv4_served_elsewhere)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn refused(listener: &Listener, error: &io::Error) -> Failure {
    let Listener { address, place, .. } = listener;
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Code::AddressInUse,
            format!("{place}: something else listens on {address}"),
            format!(
                "end it (`ss -ltnp 'sport = :{}'` names it), or give another address as {}",
                address.port(),
                place.name()
            ),
        ),
        io::ErrorKind::AddrNotAvailable => Failure::new(
            Code::Usage,
            format!("{place}: {} is no address of this machine", address.ip()),
            "give one that `ip address` lists, or [::] for all of them",
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            Code::Usage,
            format!("{place}: this user may not listen on port {}", address.port()),
            "give a port from 1024 up, or let the service manager pass the socket or grant CAP_NET_BIND_SERVICE",
        ),
        _ => Failure::new(Code::Failed, format!("{place}: {address} cannot be listened on: {error}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listener(address: &str) -> Listener {
        Listener::open(address, true)
    }

    fn listen(addresses: &[&str]) -> Result<Vec<TcpListener>, Failure> {
        let listeners: Vec<_> = addresses.iter().map(|address| listener(address)).collect();
        all(&listeners, &mut Passed::default())?.into_iter().map(Bound::listen).collect()
    }

    #[test]
    fn ipv6_wildcard_serves_ipv4() {
        let sockets = listen(&["[::]:0"]).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn both_wildcards_share_a_port() {
        let port = listen(&["127.0.0.1:0"]).unwrap()[0].local_addr().unwrap().port();
        let sockets = listen(&[&format!("[::]:{port}"), &format!("0.0.0.0:{port}")]).unwrap();
        assert_eq!(sockets.len(), 2);
    }

    #[test]
    fn ipv6_loopback_leaves_ipv4_alone() {
        let sockets = listen(&["[::1]:0"]).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        listen(&[&format!("127.0.0.1:{port}")]).unwrap();
    }

    #[test]
    fn nobody_connects_before_listen() {
        let bound = all(&[listener("127.0.0.1:0")], &mut Passed::default()).unwrap();
        let address = bound[0].socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn address_of_nobody_here_is_said_and_optional_ones_are_left_out() {
        let elsewhere = Listener { optional: true, ..listener("192.0.2.1:0") };
        assert!(all(&[elsewhere], &mut Passed::default()).unwrap().is_empty());
        assert!(listen(&["192.0.2.1:0"]).unwrap_err().to_string().contains("no address of this machine"));
    }

    #[test]
    fn metrics_address_in_use_is_fatal_only_when_asked_for() {
        let taken = listen(&["127.0.0.1:0"]).unwrap();
        let asked = listener(&taken[0].local_addr().unwrap().to_string());
        assert!(metrics(Some(&asked), &mut Passed::default()).is_err());
        assert!(
            metrics(Some(&Listener { optional: true, ..asked }), &mut Passed::default()).unwrap().is_none()
        );
    }

    #[test]
    fn metrics_address_taken_before_it_is_listened_on_is_fatal_only_when_asked_for() {
        for optional in [false, true] {
            let asked = Listener { optional, ..listener("127.0.0.1:0") };
            let bound = metrics(Some(&asked), &mut Passed::default()).unwrap().unwrap();
            let address = bound.socket.local_addr().unwrap().as_socket().unwrap();
            let _taken = listen(&[&address.to_string()]).unwrap();
            let listening = listen_for_metrics(Some(bound));
            assert!(if optional { listening.unwrap().is_none() } else { listening.is_err() });
        }
    }
}
