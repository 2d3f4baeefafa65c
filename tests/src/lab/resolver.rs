//! A DNS server in a namespace, which answers every query for an IPv4 address with the same one, and every
//! query for a service binding with one that says nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, HTTPS, SVCB};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::namespace::Namespace;

/// How long the server's end may take.
const TURN: Duration = Duration::from_millis(100);

/// The server; ends on drop.
#[derive(Debug)]
pub struct Resolver {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Listens on port 53 of IPv4 and IPv6.
    ///
    /// # Errors
    /// The port is taken.
    pub fn new(namespace: &Namespace, address: Ipv4Addr) -> anyhow::Result<Resolver> {
        let socket = namespace
            .enter(|| UdpSocket::bind(SocketAddr::from(([0_u16; 8], 53))))?
            .with_context(|| format!("listening on UDP port 53 in {}", namespace.name()))?;
        socket.set_read_timeout(Some(TURN))?;
        let ending = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ending);
        let thread = thread::Builder::new()
            .name("resolver".into())
            .spawn(move || serve(&socket, address, &seen))?;
        Ok(Resolver {
            ending,
            thread: Some(thread),
        })
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, address: Ipv4Addr, ending: &AtomicBool) {
    let mut buffer = [0; 1500];
    while !ending.load(Ordering::Relaxed) {
        let Ok((len, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let query = buffer.get(..len).unwrap_or_default();
        if let Some(answer) = answer(query, address) {
            // What does not arrive is the client's to notice.
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    for question in &query.queries {
        answer.add_query(question.clone());
        let data = match question.query_type() {
            RecordType::A => RData::A(A(address)),
            RecordType::HTTPS => RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), Vec::new()))),
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    }
    answer.to_vec().ok()
}
