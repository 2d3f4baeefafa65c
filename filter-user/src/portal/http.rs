//! The listeners: HTTP with every bound that keeps one client from the others. Nothing is logged of a
//! request.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as Asked, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::Portal;
use super::answer::Answer;
use super::request::{Method, Request, plain_host};
use crate::kernel::grants::monotonic_ns;

/// Connections that a listener serves at once; others wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of a request's head, and of the buffer behind it.
const HEAD_MAX: usize = 16 * 1024;
/// Fields of a request's head.
const HEADERS_MAX: usize = 64;
/// Bytes of a form: a token and a language are 200.
const BODY_MAX: usize = 2 * 1024;
/// Longest wait for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Longest life of a connection; each serves one request.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Pause after a failed attempt to listen or accept.
const PAUSE: Duration = Duration::from_secs(2);

/// Listens on every configured address, for ever: at once where that succeeds. Where an address is not
/// there yet it is tried again: filtering waits for no page.
pub(crate) fn spawn(portal: Portal) {
    let portal = Arc::new(portal);
    for address in portal.settings.listen.clone() {
        let first = bind(address);
        if let Err(error) = &first {
            warn!("[portal] listen {address}: {error}: trying again");
        }
        tokio::spawn(listen(address, first.ok(), Arc::clone(&portal)));
    }
}

async fn listen(address: SocketAddr, first: Option<TcpListener>, portal: Arc<Portal>) {
    let mut bound = first;
    let listener = loop {
        if let Some(listener) = bound {
            break listener;
        }
        tokio::time::sleep(PAUSE).await;
        bound = bind(address).ok();
    };
    info!("portal on {address}");
    serve(listener, portal).await;
}

/// IPv6 sockets take IPv6 only: both families can be listed with the same port.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn serve(listener: TcpListener, portal: Arc<Portal>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                let portal = Arc::clone(&portal);
                tokio::spawn(async move {
                    connection(stream, client.ip(), portal).await;
                    drop(permit);
                });
            }
            // Out of descriptors, or a client that went: the next one may do better.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, client: IpAddr, portal: Arc<Portal>) {
    let service = service_fn(move |asked: Asked<Incoming>| {
        let portal = Arc::clone(&portal);
        async move {
            let request = read(asked, client).await;
            let answer = portal.answer(&request, monotonic_ns() / 1_000_000);
            Ok::<_, Infallible>(response(answer))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks the protocol or the time is gone; there is nobody to tell.
    let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
}

async fn read(asked: Asked<Incoming>, client: IpAddr) -> Request {
    let (head, body) = asked.into_parts();
    let method = match head.method {
        hyper::Method::GET | hyper::Method::HEAD => Method::Get,
        hyper::Method::POST => Method::Post,
        _ => Method::Other,
    };
    let body = match method {
        Method::Post => Limited::new(body, BODY_MAX).collect().await.ok(),
        Method::Get | Method::Other => None,
    };
    let body = body.map(|body| body.to_bytes());
    let body = body.and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let text = |name: HeaderName| field(&head.headers, name);
    // A proxy's request names the host in its target (RFC 9112 section 3.2.2).
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => text(header::HOST).unwrap_or_default(),
    };
    Request {
        method,
        host: plain_host(&host),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        accept: text(header::ACCEPT).unwrap_or_default(),
        accept_language: text(header::ACCEPT_LANGUAGE).unwrap_or_default(),
        origin: text(header::ORIGIN),
        fetch_site: text(HeaderName::from_static("sec-fetch-site")),
        content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
        body: body.unwrap_or_default(),
        client,
    }
}

/// A field's value; what is no text counts as a value that fits nothing.
fn field(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or("?").to_owned())
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
