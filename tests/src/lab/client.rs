//! Clients in this process: a TLS client whose ClientHello can be cut at will.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::namespace::Namespace;
use super::patience;
use super::pki::Authority;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server's page, with a certificate for the name that was asked for.
    Page(String),
    /// The connection was made, then reset.
    Reset,
    /// The connection was refused at once.
    Refused,
    /// Nothing came within the time.
    Silence,
    /// A DNS answer: an address, or the code that says why there is none.
    Told(String),
    /// A redirect to this URL.
    Redirect(String),
    /// Anything else.
    Other(String),
}

impl Ended {
    /// Whether this is `name`'s page.
    #[must_use]
    pub fn is_page_of(&self, name: &str) -> bool {
        matches!(self, Ended::Page(text) if text.contains(&super::server::page(name)))
    }

    /// One word for tables.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Ended::Page(_) => "page",
            Ended::Reset => "reset",
            Ended::Refused => "refused",
            Ended::Silence => "silence",
            Ended::Told(_) => "told",
            Ended::Redirect(_) => "redirect",
            Ended::Other(_) => "other",
        }
    }
}

/// How a ClientHello is sent.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// By one write.
    Whole,
    /// By two writes with this pause between them, cut in the middle of the server name.
    InName(Duration),
}

/// A request by TLS.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// Server name.
    pub name: &'a str,
    /// How the ClientHello is sent.
    pub cut: Cut,
    /// Longest wait for each answer.
    pub patience: Duration,
}

impl<'a> Request<'a> {
    /// A request whose ClientHello is sent whole, with a few seconds of patience.
    #[must_use]
    pub fn new(to: SocketAddr, name: &'a str) -> Request<'a> {
        Request {
            to,
            name,
            cut: Cut::Whole,
            patience: patience(Duration::from_secs(5)),
        }
    }

    /// The same with the ClientHello cut in the middle of the name.
    #[must_use]
    pub fn split(self) -> Request<'a> {
        Request {
            cut: Cut::InName(Duration::from_millis(1)),
            ..self
        }
    }

    /// Sends it from `namespace` and reads the page.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the name is none. What becomes of the request is no error.
    pub fn fetch(
        &self,
        namespace: &Namespace,
        authority: &Authority,
    ) -> anyhow::Result<(Ended, Duration)> {
        let connection = client_for(authority, self.name)?;
        let started = Instant::now();
        let page = namespace.enter(|| connect(self.to, self.patience))?;
        let page = page.and_then(|stream| fetch_page(stream, connection, self));
        let ended = page.map_or_else(|error| ended_by(&error), Ended::Page);
        Ok((ended, started.elapsed()))
    }
}

/// A connection with the given longest wait, for itself and for what is read and written by it.
/// The calling thread must be in the namespace.
///
/// # Errors
/// As the system says.
pub fn connect(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// A TLS client's ClientHello for `name`, as it goes on the wire.
///
/// # Errors
/// The name is none.
pub fn client_hello(authority: &Authority, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client_for(authority, name)?.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Where the middle of `name` lies in `hello`.
#[must_use]
pub fn middle_of_name(hello: &[u8], name: &str) -> Option<usize> {
    let at = hello
        .windows(name.len())
        .position(|part| part == name.as_bytes())?;
    Some(at + name.len() / 2)
}

/// What an error of a socket says of a request.
#[must_use]
pub fn ended_by(error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ended::Reset,
        io::ErrorKind::ConnectionRefused => Ended::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Ended::Silence,
        _ => Ended::Other(error.to_string()),
    }
}

fn client_for(authority: &Authority, name: &str) -> anyhow::Result<ClientConnection> {
    let server = ServerName::try_from(name.to_owned())?;
    Ok(ClientConnection::new(
        Arc::clone(&authority.client()),
        server,
    )?)
}

fn fetch_page(
    mut stream: TcpStream,
    mut connection: ClientConnection,
    request: &Request<'_>,
) -> io::Result<String> {
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    send_hello(&mut stream, &hello, request)?;
    let mut tls = StreamOwned::new(connection, stream);
    write!(
        tls,
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        request.name
    )?;
    let mut page = String::new();
    tls.read_to_string(&mut page)?;
    Ok(page)
}

fn send_hello(stream: &mut TcpStream, hello: &[u8], request: &Request<'_>) -> io::Result<()> {
    let cut = match request.cut {
        Cut::Whole => None,
        Cut::InName(pause) => middle_of_name(hello, request.name).map(|at| (at, pause)),
    };
    let Some((at, pause)) = cut else {
        return stream.write_all(hello);
    };
    let (first, second) = hello.split_at_checked(at).unwrap_or((hello, &[]));
    stream.write_all(first)?;
    // The pause is part of what is sent: without it the kernel may join the two writes.
    thread::sleep(pause);
    stream.write_all(second)
}
