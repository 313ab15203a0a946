//! Another address: what connects here comes from 127.0.0.2, whoever it is.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;

/// Goes with the test.
pub(super) struct Relay {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Relay {
    /// One to this address.
    pub(super) fn to(address: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let own = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let socket = TcpSocket::new_v4()?;
                    socket.bind(([127, 0, 0, 2], 0).into())?;
                    let mut to = socket.connect(address).await?;
                    copy_bidirectional(&mut from, &mut to).await
                });
            }
        });
        Self { address: own, _runtime: runtime }
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}
