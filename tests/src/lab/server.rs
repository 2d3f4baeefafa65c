//! Servers in a namespace. Each records what it understood: the truth that verdicts are held to.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::server::Acceptor;
use rustls::{ServerConnection, StreamOwned};

use super::namespace::Namespace;
use super::pki::{Authority, Issuer, NO_NAME};

/// A connection that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest request head that is read.
const HEAD_MAX: usize = 16 << 10;

/// What a server understood of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// The client's address.
    pub client: IpAddr,
    /// TLS: the server name of the ClientHello. HTTP: the Host header.
    pub name: Option<String>,
}

/// What a server understood so far, shared with its threads.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Heard>>>);

impl Log {
    /// All that was understood so far.
    #[must_use]
    pub fn all(&self) -> Vec<Heard> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How often `name` was understood from `client`.
    #[must_use]
    pub fn count(&self, client: IpAddr, name: &str) -> usize {
        let said = |heard: &&Heard| heard.client == client && heard.name.as_deref() == Some(name);
        self.all().iter().filter(said).count()
    }

    fn add(&self, client: IpAddr, name: Option<String>) {
        let heard = Heard {
            at: Instant::now(),
            client,
            name,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(heard);
    }
}

/// What may change of a server while it runs.
#[derive(Clone, Debug, Default)]
struct Manners {
    /// Header lines of its answers, each with its end.
    headers: Arc<Mutex<String>>,
    /// Its connections, where it is to end them all at once.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Manners {
    fn headers(&self) -> String {
        let headers = self.headers.lock();
        headers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, stream: &TcpStream) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(open), Ok(stream)) = (open.as_mut(), stream.try_clone()) {
            open.push(stream);
        }
    }
}

/// A listening server of IPv4 and IPv6; ends on drop.
#[derive(Debug)]
pub struct Server {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
    log: Log,
    manners: Manners,
}

impl Server {
    /// A TLS server that answers as whatever name it is asked for, by HTTP where it gets a request.
    ///
    /// # Errors
    /// The port is taken.
    pub fn tls(namespace: &Namespace, port: u16, authority: &Authority) -> anyhow::Result<Server> {
        let issuer = authority.issuer();
        Server::start(namespace, port, move |stream, log, headers| {
            serve_tls(stream, &issuer, log, headers)
        })
    }

    /// A plain HTTP server.
    ///
    /// # Errors
    /// The port is taken.
    pub fn http(namespace: &Namespace, port: u16) -> anyhow::Result<Server> {
        Server::start(namespace, port, serve_http)
    }

    /// Sets the lines, each with its end, that its answers from now on have beside their usual headers.
    pub fn say(&self, lines: &str) {
        let headers = self.manners.headers.lock();
        lines.clone_into(&mut headers.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the connections that it took since the last call; before the first call it leaves them alone.
    pub fn hang_up(&self) {
        let open = self.manners.open.lock();
        let ended = open
            .unwrap_or_else(PoisonError::into_inner)
            .replace(Vec::new());
        for stream in ended.unwrap_or_default() {
            // One that has ended already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What it understood.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn start<F>(namespace: &Namespace, port: u16, serve: F) -> anyhow::Result<Server>
    where
        F: Fn(TcpStream, &Log, &str) -> anyhow::Result<()> + Send + Sync + 'static,
    {
        let address = SocketAddr::from(([0_u16; 8], port));
        let listener = namespace
            .enter(|| TcpListener::bind(address))?
            .with_context(|| format!("listening on port {port} in {}", namespace.name()))?;
        let listener = Arc::new(listener);
        let log = Log::default();
        let manners = Manners::default();
        let (accepting, writing, serve) = (Arc::clone(&listener), log.clone(), Arc::new(serve));
        let behaving = manners.clone();
        let thread = thread::Builder::new()
            .name(format!("server-{port}"))
            .spawn(move || accept_all(&accepting, &writing, &behaving, &serve))?;
        Ok(Server {
            listener,
            thread: Some(thread),
            log,
            manners,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open while `self` lives; shutdown makes accept return.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been printed.
            let _ = thread.join();
        }
    }
}

fn accept_all<F>(listener: &TcpListener, log: &Log, manners: &Manners, serve: &Arc<F>)
where
    F: Fn(TcpStream, &Log, &str) -> anyhow::Result<()> + Send + Sync + 'static,
{
    while let Ok((stream, _)) = listener.accept() {
        let (serve, log, headers) = (Arc::clone(serve), log.clone(), manners.headers());
        manners.note(&stream);
        // What goes wrong on one connection is its client's to notice.
        thread::spawn(move || serve(stream, &log, &headers).ok());
    }
}

fn client_of(stream: &TcpStream) -> io::Result<IpAddr> {
    Ok(stream.peer_addr()?.ip().to_canonical())
}

fn serve_tls(
    mut stream: TcpStream,
    issuer: &Issuer,
    log: &Log,
    headers: &str,
) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let client = client_of(&stream)?;
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        anyhow::ensure!(
            acceptor.read_tls(&mut stream)? != 0,
            "closed before a ClientHello"
        );
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => break accepted,
            Err((error, _)) => anyhow::bail!("not a ClientHello: {error}"),
        }
    };
    let name = accepted.client_hello().server_name().map(str::to_owned);
    log.add(client, name.clone());
    let name = name.unwrap_or_else(|| NO_NAME.to_owned());
    let config = issuer.server(&name)?;
    let connection: ServerConnection = accepted
        .into_connection(config)
        .map_err(|(error, _)| error)?;
    let mut tls = StreamOwned::new(connection, stream);
    answer(&mut tls, &name, headers)?;
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}

fn serve_http(mut stream: TcpStream, log: &Log, headers: &str) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let client = client_of(&stream)?;
    // As many requests as the client sends, one behind the answer to the other.
    while let Ok(head) = read_head(&mut stream) {
        let host = host_of(&head);
        log.add(client, host.clone());
        let name = host.unwrap_or_else(|| NO_NAME.to_owned());
        write_page(&mut stream, &name, "keep-alive", headers)?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

/// Reads a request and answers it as `name`.
fn answer(stream: &mut (impl io::Read + io::Write), name: &str, headers: &str) -> io::Result<()> {
    read_head(stream)?;
    write_page(stream, name, "close", headers)
}

fn read_head(stream: &mut impl io::Read) -> io::Result<String> {
    let mut head = Vec::new();
    for byte in io::BufReader::new(stream).take(HEAD_MAX as u64).bytes() {
        head.push(byte?);
        if head.ends_with(b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn host_of(head: &str) -> Option<String> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut hosts = fields.filter(|(key, _)| key.eq_ignore_ascii_case("host"));
    hosts.next().map(|(_, value)| value.trim().to_owned())
}

fn write_page(
    stream: &mut impl io::Write,
    name: &str,
    connection: &str,
    headers: &str,
) -> io::Result<()> {
    let page = page(name);
    let length = page.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n{headers}\r\n{page}"
    )?;
    stream.flush()
}

/// The page that a server gives as `name`: by it a client proves that it got through.
#[must_use]
pub fn page(name: &str) -> String {
    format!("<!doctype html><title>{name}</title><p>served as {name}</p>\n")
}
