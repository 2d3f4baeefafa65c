//! A real HTTP/3 server (h3 on quinn), which answers as whatever name it is asked for.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http::Response;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use tokio::runtime::Runtime;

use super::namespace::Namespace;
use super::pki::Authority;
use super::quic::whom;
use super::server::page;

/// Error code of HTTP/3 for an end without an error (RFC 9114 section 8.1).
const H3_NO_ERROR: u32 = 0x100;

/// A completed connection.
struct Held {
    client: IpAddr,
    name: String,
    connection: Connection,
}

type Completed = Arc<Mutex<Vec<Held>>>;

/// The server; ends on drop.
pub struct Http3 {
    completed: Completed,
    _runtime: Runtime,
}

impl Http3 {
    /// Serves on a port of all addresses of a namespace.
    ///
    /// # Errors
    /// The port is taken, or no thread can be made.
    pub fn new(namespace: &Namespace, port: u16, authority: &Authority) -> anyhow::Result<Http3> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let config = authority.issuer().http3()?;
        let crypto = QuicServerConfig::try_from(config).context("a configuration for QUIC")?;
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let socket: io::Result<UdpSocket> = namespace.enter(|| UdpSocket::bind(any))?;
        let in_runtime = runtime.enter();
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(ServerConfig::with_crypto(Arc::new(crypto))),
            socket.with_context(|| format!("UDP port {port} in {}", namespace.name()))?,
            Arc::new(TokioRuntime),
        )?;
        drop(in_runtime);
        let completed = Completed::default();
        let noting = Arc::clone(&completed);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(serve(incoming, Arc::clone(&noting)));
            }
        });
        Ok(Http3 {
            completed,
            _runtime: runtime,
        })
    }

    /// How often a connection of `client`'s for `name` was completed.
    #[must_use]
    pub fn completed(&self, client: IpAddr, name: &str) -> usize {
        let completed = self.completed.lock();
        let completed = completed.unwrap_or_else(PoisonError::into_inner);
        let wanted = |one: &&Held| one.client == client && one.name == name;
        completed.iter().filter(wanted).count()
    }

    /// Ends all its connections, so that who comes again makes a new one.
    pub fn hang_up(&self) {
        let completed = self.completed.lock();
        for held in completed.unwrap_or_else(PoisonError::into_inner).iter() {
            held.connection.close(H3_NO_ERROR.into(), b"");
        }
    }
}

/// Completes a connection, notes its name, and answers its requests.
async fn serve(incoming: Incoming, completed: Completed) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let (client, name) = whom(&connection);
    completed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Held {
            client,
            name: name.clone(),
            connection: connection.clone(),
        });
    let quic = h3_quinn::Connection::new(connection);
    let mut requests = h3::server::Connection::<_, Bytes>::new(quic).await?;
    while let Some(request) = requests.accept().await? {
        let (_, mut stream) = request.resolve_request().await?;
        let head = Response::builder().header("content-type", "text/html");
        stream.send_response(head.body(())?).await?;
        stream.send_data(Bytes::from(page(&name))).await?;
        stream.finish().await?;
    }
    Ok(())
}
