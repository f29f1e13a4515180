//! A tunnel that adds TLS, so that the client of the other tests can talk to a node with TLS. Owns its listener and its connections;
//! it reads no further while its client does not read.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::certificates::{Certificates, localhost};

/// A running tunnel. Dropping it ends its connections.
pub struct Tunnel {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    pub async fn to(node: SocketAddr, certificates: &Certificates) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = certificates.connector();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut plain, _)) = listener.accept().await {
                let connector = connector.clone();
                connections.spawn(async move {
                    let Ok(socket) = TcpStream::connect(node).await else { return };
                    for side in [&plain, &socket] {
                        side.set_nodelay(true).unwrap();
                    }
                    let Ok(mut tls) = connector.connect(localhost(), socket).await else { return };
                    // The end of either side ends both.
                    let _ = tokio::io::copy_bidirectional(&mut plain, &mut tls).await;
                });
            }
        });
        Self { address, task }
    }
}
