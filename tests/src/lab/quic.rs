//! A stock QUIC server and client (quinn), which know nothing of the filter.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
};
use tokio::runtime::Runtime;

use super::namespace::Namespace;
use super::pki::Authority;

/// Bytes of an answer that are read at most.
const ANSWER_MAX: usize = 1_024;

/// Time that a server's first answer takes.
const DISTANCE: Duration = Duration::from_millis(20);

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server answered.
    Answered,
    /// The client was told that the server has no version of QUIC that it has.
    Negotiated,
    /// Nothing came in time.
    Silence,
    /// Something else.
    Other(String),
}

/// What runs the sockets of a test.
pub struct Quic {
    runtime: Runtime,
    /// Names of the connections that servers completed.
    completed: Arc<Mutex<Vec<(IpAddr, String)>>>,
}

impl Quic {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn new() -> anyhow::Result<Quic> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Quic {
            runtime,
            completed: Arc::default(),
        })
    }

    /// Starts a server that answers to everything as `name`, on all addresses of a namespace.
    ///
    /// # Errors
    /// The port is taken, or the certificate cannot be made.
    pub fn serve(
        &self,
        namespace: &Namespace,
        port: u16,
        authority: &Authority,
        name: &str,
    ) -> anyhow::Result<()> {
        let config = (*authority.issuer().server(name)?).clone();
        let crypto = QuicServerConfig::try_from(config).context("a configuration for QUIC")?;
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let endpoint = self.endpoint(namespace, any, Some(config))?;
        let completed = Arc::clone(&self.completed);
        self.runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(answer(incoming, Arc::clone(&completed)));
            }
        });
        Ok(())
    }

    fn endpoint(
        &self,
        namespace: &Namespace,
        at: SocketAddr,
        server: Option<ServerConfig>,
    ) -> anyhow::Result<Endpoint> {
        let socket: io::Result<UdpSocket> = namespace.enter(|| UdpSocket::bind(at))?;
        let _in_runtime = self.runtime.enter();
        let settings = EndpointConfig::default();
        Ok(Endpoint::new(
            settings,
            server,
            socket?,
            Arc::new(TokioRuntime),
        )?)
    }

    /// Asks a server for an answer as `name` says, once.
    ///
    /// # Errors
    /// No socket can be made.
    pub fn ask(
        &self,
        namespace: &Namespace,
        to: SocketAddr,
        name: &str,
        authority: &Authority,
        patience: Duration,
    ) -> anyhow::Result<Ended> {
        let any: SocketAddr = if to.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)
        };
        let crypto = QuicClientConfig::try_from((*authority.client()).clone())?;
        let config = ClientConfig::new(Arc::new(crypto));
        let endpoint = self.endpoint(namespace, any, None)?;
        let asked = async {
            let connecting = endpoint.connect_with(config, to, name)?;
            let connection = match connecting.await {
                Ok(connection) => connection,
                Err(ConnectionError::VersionMismatch) => return Ok(Ended::Negotiated),
                Err(error) => return Ok(Ended::Other(error.to_string())),
            };
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(b"hello").await?;
            send.finish()?;
            let answer = receive.read_to_end(ANSWER_MAX).await?;
            connection.close(0u32.into(), b"");
            anyhow::ensure!(answer == b"hello", "answered {answer:?}");
            Ok(Ended::Answered)
        };
        self.runtime.block_on(async {
            match tokio::time::timeout(patience, asked).await {
                Ok(ended) => ended,
                Err(_elapsed) => Ok(Ended::Silence),
            }
        })
    }

    /// Clients and names of the connections that servers completed.
    #[must_use]
    pub fn completed(&self) -> Vec<(IpAddr, String)> {
        let completed = self.completed.lock();
        completed.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The client of a connection that a server completed, and the name that it asked for.
pub(super) fn whom(connection: &Connection) -> (IpAddr, String) {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let name = data.and_then(|data| data.server_name).unwrap_or_default();
    (connection.remote_address().ip().to_canonical(), name)
}

/// Completes a connection, notes its name, and sends back what comes.
async fn answer(incoming: quinn::Incoming, completed: Arc<Mutex<Vec<(IpAddr, String)>>>) {
    // As far away as a server of the neighbourhood: an answer takes a while to come.
    tokio::time::sleep(DISTANCE).await;
    let Ok(connection) = incoming.await else {
        return;
    };
    let asked = whom(&connection);
    completed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        if let Ok(asked) = receive.read_to_end(ANSWER_MAX).await {
            // A client that is gone needs no answer.
            let _ = send.write_all(&asked).await;
            let _ = send.finish();
        }
    }
}
