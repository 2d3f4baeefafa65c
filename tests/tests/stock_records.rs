//! ClientHellos cut into records and segments of many sizes, against a stock OpenSSL server: what it
//! understands, the filter has judged.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use schoolgate_tests::lab::capture::Capture;
use schoolgate_tests::lab::client::{Ended, client_hello, connect, ended_by};
use schoolgate_tests::lab::commands::OpensslServer;
use schoolgate_tests::lab::daemon::program_or_skip;
use schoolgate_tests::lab::scene::{ALLOWED, EXACT, Scene};
use schoolgate_tests::lab::topology::{SERVER4, SERVER6, UPLINK};
use schoolgate_tests::lab::{patience, stream, wait};

/// Bytes of a handshake record; the whole ClientHello is shorter than the last.
const RECORDS: [usize; 5] = [1, 2, 17, 64, 16_000];
/// Bytes of a segment.
const SEGMENTS: [usize; 4] = [1, 9, 100, 16_000];
const FIRST_PORT: u16 = 4_430;

/// The ClientHello in records of at most `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let body = hello.get(5..).unwrap_or_default();
    let mut bytes = Vec::new();
    for part in body.chunks(size) {
        let [high, low] = u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
        bytes.extend_from_slice(&[22, 3, 1, high, low]);
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Sends by writes of at most `size` bytes, each a segment of its own, and waits for an answer.
fn exchange(to: SocketAddr, bytes: &[u8], size: usize) -> io::Result<Ended> {
    let mut stream: TcpStream = connect(to, patience(Duration::from_secs(5)))?;
    for part in bytes.chunks(size) {
        stream.write_all(part)?;
    }
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(Ended::Page(String::new()))
}

#[test]
fn what_a_stock_server_understands_has_been_judged() {
    let Some(program) = program_or_skip("stock_records") else {
        return;
    };
    let (scene, _daemon) = Scene::start(&program).unwrap();
    let mut port = FIRST_PORT;
    for record in RECORDS {
        for (number, segment) in SEGMENTS.into_iter().enumerate() {
            for name in [ALLOWED, EXACT] {
                port += 1;
                let host = if number % 2 == 0 {
                    SERVER4.into()
                } else {
                    SERVER6.into()
                };
                let to = SocketAddr::new(host, port);
                let case = format!("{name}, records of {record}, segments of {segment}, {to}");
                // One server a case: it serves one connection at a time, and is not told of a block.
                let server = OpensslServer::start(&scene.topology.internet, port, &scene.authority);
                let server = server.unwrap();
                let capture = Capture::start(&scene.topology.internet, UPLINK).unwrap();
                let hello = in_records(&client_hello(&scene.authority, name).unwrap(), record);
                let send = || exchange(to, &hello, segment);
                let sent = scene.topology.school.enter(send).unwrap();
                let ended = sent.unwrap_or_else(|error| ended_by(&error));
                if name == ALLOWED {
                    assert_eq!(ended, Ended::Page(String::new()), "{case}");
                    let heard = || server.heard() == [ALLOWED];
                    wait::until_true(&case, patience(Duration::from_secs(5)), heard).unwrap();
                } else {
                    assert_eq!(ended, Ended::Reset, "{case}");
                    assert_eq!(server.heard(), Vec::<String>::new(), "{case}");
                    assert_eq!(stream::complete_names(&capture.frames()), [], "{case}");
                }
            }
        }
    }
}
