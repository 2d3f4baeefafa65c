//! A server of lists that behaves as a test says, well or badly, over HTTP and HTTPS.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does next.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status, such as `200 OK`.
    pub status: String,
    /// Fields beside the length of the body.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Bytes more than there are that the length promises.
    pub missing: usize,
    /// Wait in the middle of the body.
    pub pause: Duration,
}

impl Answer {
    /// A file with an entity tag.
    #[must_use]
    pub fn file(body: impl Into<Vec<u8>>, etag: &str) -> Answer {
        Answer {
            status: "200 OK".to_owned(),
            fields: vec![("ETag".to_owned(), etag.to_owned())],
            body: body.into(),
            ..Answer::default()
        }
    }

    /// A status without more.
    #[must_use]
    pub fn status(status: &str) -> Answer {
        Answer {
            status: status.to_owned(),
            ..Answer::default()
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A request: the path, and the fields with names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The fields.
    pub fields: Vec<(String, String)>,
}

impl Asked {
    /// A field's value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server, on an address of its own; it ends with this.
pub struct ListsServer {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ListsServer {
    /// Starts it on a listener, with TLS or without.
    ///
    /// # Errors
    /// The listener's.
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> io::Result<ListsServer> {
        let address = listener.local_addr()?;
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let ended = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = std::thread::spawn({
            let (asked, ended) = (Arc::clone(&asked), Arc::clone(&ended));
            move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let (Ok(stream), asked) = (stream, Arc::clone(&asked)) else {
                        continue;
                    };
                    let (tls, handler) = (tls.clone(), Arc::clone(&handler));
                    // Who hangs up is no failure of the server's.
                    std::thread::spawn(move || {
                        let _ = serve(stream, tls, &asked, &*handler);
                    });
                }
            }
        });
        Ok(ListsServer {
            address,
            asked,
            ended,
            thread: Some(thread),
        })
    }

    /// What was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Drop for ListsServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a client; where it cannot, the thread ends with the program.
        if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    asked: &Mutex<Vec<Asked>>,
    handler: &Handler,
) -> io::Result<()> {
    match tls {
        None => {
            let reader = stream.try_clone()?;
            converse(reader, stream, asked, handler)
        }
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, stream);
            let head = head(&mut stream)?;
            answer(&mut stream, head, asked, handler)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

fn converse(
    mut reader: impl Read,
    mut writer: impl Write,
    asked: &Mutex<Vec<Asked>>,
    handler: &Handler,
) -> io::Result<()> {
    let head = head(&mut reader)?;
    answer(&mut writer, head, asked, handler)
}

fn head(reader: &mut impl Read) -> io::Result<Asked> {
    let mut lines = BufReader::with_capacity(1, reader).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Asked { path, fields })
}

fn answer(
    writer: &mut impl Write,
    head: Asked,
    asked: &Mutex<Vec<Asked>>,
    handler: &Handler,
) -> io::Result<()> {
    let answer = handler(&head);
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(head);
    write!(writer, "HTTP/1.1 {}\r\n", answer.status)?;
    for (name, value) in &answer.fields {
        write!(writer, "{name}: {value}\r\n")?;
    }
    let length = answer.body.len() + answer.missing;
    write!(
        writer,
        "Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    let (first, second) = answer.body.split_at(answer.body.len() / 2);
    writer.write_all(first)?;
    writer.flush()?;
    std::thread::sleep(answer.pause);
    writer.write_all(second)?;
    writer.flush()
}
