//! Streams of HTTP requests and DNS queries through the program in the running kernel: cut at every byte,
//! in every encapsulation, and at random, with bodies and chunks between the requests.

#![expect(
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use schoolgate_tests::cases::http::{get, with_page};
use schoolgate_tests::cases::{links, world};
use schoolgate_tests::dns::{Query, kind};
use schoolgate_tests::evasion::Random;
use schoolgate_tests::frames::Path;
use schoolgate_tests::gate::scaled;
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::matrix::Matrix;
use schoolgate_tests::split::{ALLOWED, BLOCKED};

/// Longest part of a stream that goes into one segment.
const SEGMENT: usize = 1_400;

/// A school that answers with pages, behind connections to this port.
fn matrix(dport: u16) -> Matrix {
    let mut matrix = Matrix::new(&with_page(world()));
    matrix.path.dport = dport;
    matrix
}

/// Requests one behind the other, and how many bytes show a forbidden one.
#[derive(Clone, Default)]
struct Stream {
    bytes: Vec<u8>,
    decisive: Option<usize>,
}

impl Stream {
    /// Adds text whose byte behind `name` shows it.
    fn add(&mut self, text: &[u8], name: &str) {
        let at = text
            .windows(name.len())
            .position(|part| part == name.as_bytes());
        if name.to_lowercase().ends_with(BLOCKED) && self.decisive.is_none() {
            // The name of an absolute target is judged with its path, where the target ends.
            let rest = at
                .and_then(|at| text.get(at + name.len()..))
                .unwrap_or_default();
            let absolute = at.is_some_and(|at| text[..at].ends_with(b"://"));
            let more = rest
                .iter()
                .position(|byte| *byte == b' ')
                .filter(|_| absolute);
            let end = at.map(|at| self.bytes.len() + at + name.len() + 1);
            self.decisive = end.map(|end| end + more.unwrap_or(0));
        }
        self.bytes.extend(text);
    }

    fn send(&self, matrix: &mut Matrix, what: &str, cuts: &[usize]) {
        let shown = self.bytes.escape_ascii();
        let what = format_args!("{what} {cuts:?} of {shown}");
        matrix.flow(what, &self.bytes, cuts, self.decisive);
    }
}

fn kept_alive() -> Stream {
    let mut stream = Stream::default();
    let post = format!("POST /f HTTP/1.1\r\nHost: {ALLOWED}\r\nContent-Length: 9\r\n\r\nGET / HTT");
    stream.add(post.as_bytes(), ALLOWED);
    let chunks = format!(
        "PUT /f HTTP/1.1\r\nhost:{ALLOWED}\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\n\r\n\r\n\r\n0\r\nHost: x\r\n\r\n"
    );
    stream.add(chunks.as_bytes(), ALLOWED);
    stream.add(&get(BLOCKED, "/a?b"), BLOCKED);
    stream
}

fn queries() -> Stream {
    let mut stream = Stream::default();
    for name in [ALLOWED, BLOCKED] {
        let query = Query::of(name, kind::A).bytes();
        let len = u16::try_from(query.len()).unwrap();
        if name == BLOCKED {
            // The class's last byte ends the question; nothing follows here.
            stream.decisive = Some(stream.bytes.len() + 2 + query.len());
        }
        stream.bytes.extend(len.to_be_bytes());
        stream.bytes.extend(query);
    }
    stream
}

#[test]
fn requests_cut_at_every_byte() {
    if !root_or_skip("requests_cut_at_every_byte") {
        return;
    }
    for (stream, dport) in [(kept_alive(), 8080), (queries(), 53)] {
        let mut matrix = matrix(dport);
        for six in [false, true] {
            if six {
                matrix.path = links::in_ipv6(&matrix.path);
            }
            stream.send(&mut matrix, "whole", &[]);
            for cut in 1..stream.bytes.len() {
                stream.send(&mut matrix, "in two", &[cut]);
                stream.send(&mut matrix, "in three", &[cut / 2, cut]);
            }
            let all: Vec<usize> = (1..stream.bytes.len()).collect();
            stream.send(&mut matrix, "byte by byte", &all);
        }
        matrix.end();
    }
}

/// A request that a client might send, for this host.
fn request(random: &mut Random, stream: &mut Stream, host: &str) {
    let host = match random.below(4) {
        0 => host.to_uppercase(),
        1 => format!("www.{host}"),
        _ => host.to_owned(),
    };
    let path = "/x".repeat(random.below(9) + 1);
    let method = random.pick(&["GET", "HEAD", "POST", "DELETE", "OPTIONS"]);
    let mut head = match random.below(5) {
        0 => format!("{method} http://{host}:80{path} HTTP/1.1\r\nHost: {host}\r\n"),
        1 => format!("{method} {path} HTTP/1.1\r\nHost:  {host}:8080\r\n"),
        2 => format!("{method} {path} HTTP/1.1\r\nX-A: {path}\r\nHost: {host}\r\n"),
        3 => format!("\r\n{method} {path} HTTP/1.1\nHost: {host}\n"),
        _ => format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n"),
    };
    for _ in 0..random.below(4) {
        let value = "v".repeat(random.below(300));
        head.push_str(&format!("X-Field-{value}: Host: {BLOCKED}{value}\r\n"));
    }
    let body = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(random.below(40));
    match random.below(3) {
        0 => head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        1 => {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.as_bytes().chunks(random.below(200) + 1) {
                let text = String::from_utf8_lossy(chunk);
                head.push_str(&format!("{:x}\r\n{text}\r\n", chunk.len()));
            }
            head.push_str("0\r\n\r\n");
        }
        _ => head.push_str("\r\n"),
    }
    stream.add(head.as_bytes(), &host);
}

fn random_stream(random: &mut Random) -> Stream {
    let mut stream = Stream::default();
    for _ in 0..random.below(4) {
        request(random, &mut stream, ALLOWED);
    }
    let last = if random.once_in(2) { BLOCKED } else { ALLOWED };
    request(random, &mut stream, last);
    stream
}

#[test]
fn random_requests_cut_at_random() {
    if !root_or_skip("random_requests_cut_at_random") {
        return;
    }
    let mut matrix = matrix(80);
    let mut random = Random::new(23);
    let paths = [Path::default(), links::in_ipv6(&Path::default())];
    for number in 0..scaled(20_000) {
        let stream = random_stream(&mut random);
        let len = stream.bytes.len();
        let mut cuts: Vec<usize> = (SEGMENT..len).step_by(SEGMENT).collect();
        for _ in 0..random.below(6) {
            cuts.push(1 + random.below(len - 1));
        }
        matrix.path = paths[number % 2].clone();
        stream.send(&mut matrix, "random", &cuts);
    }
    matrix.end();
}
