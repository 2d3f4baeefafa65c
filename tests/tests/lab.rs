//! The lab by itself, without the filter: what it shows must be true before anything is judged by it.

use std::net::SocketAddr;
use std::time::Duration;

use schoolgate_tests::lab::capture::{self, Capture};
use schoolgate_tests::lab::client::{Ended, Request};
use schoolgate_tests::lab::pki::Authority;
use schoolgate_tests::lab::server::Server;
use schoolgate_tests::lab::topology::{
    LISTED4, LISTED6, NARROW4, NEIGHBOUR6, SCHOOL4, SERVER4, SERVER6, Topology, UPLINK,
};
use schoolgate_tests::lab::{root_or_skip, stream};

const NAME: &str = "open.example";
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn pages_come_through_and_the_server_tells_who_asked_for_what() {
    if !root_or_skip("lab") {
        return;
    }
    let topology = Topology::new().unwrap();
    let authority = Authority::new().unwrap();
    let server = Server::tls(&topology.internet, 443, &authority).unwrap();
    let addresses = [
        SERVER4.into(),
        NARROW4.into(),
        LISTED4.into(),
        SERVER6.into(),
        LISTED6.into(),
    ];
    for to in addresses.map(|address| SocketAddr::new(address, 443)) {
        for client in [&topology.school, &topology.neighbour] {
            let (whole, _) = Request::new(to, NAME).fetch(client, &authority).unwrap();
            assert!(whole.is_page_of(NAME), "whole to {to}: {whole:?}");
            let (split, _) = Request::new(to, NAME)
                .split()
                .fetch(client, &authority)
                .unwrap();
            assert!(split.is_page_of(NAME), "split to {to}: {split:?}");
        }
    }
    assert_eq!(server.log().count(SCHOOL4.into(), NAME), 6);
    assert_eq!(server.log().count(NEIGHBOUR6.into(), NAME), 4);
    let closed = SocketAddr::new(SERVER4.into(), 4433);
    let (ended, _) = Request::new(closed, NAME)
        .fetch(&topology.school, &authority)
        .unwrap();
    assert_eq!(ended, Ended::Refused);
}

#[test]
fn capture_holds_the_names_that_the_server_got_also_in_many_segments() {
    if !root_or_skip("lab") {
        return;
    }
    let topology = Topology::new().unwrap();
    let authority = Authority::new().unwrap();
    let _server = Server::tls(&topology.internet, 443, &authority).unwrap();
    let capture = Capture::start(&topology.internet, UPLINK).unwrap();
    for address in [SERVER4, NARROW4] {
        let to = SocketAddr::new(address.into(), 443);
        let (ended, _) = Request::new(to, NAME)
            .split()
            .fetch(&topology.school, &authority)
            .unwrap();
        assert!(ended.is_page_of(NAME), "{ended:?}");
    }
    let two = |frames: &[capture::Frame]| stream::complete_names(frames).len() == 2;
    capture::wait_for(&capture, "two names", LIMIT, two).unwrap();
    assert_eq!(capture.lost().unwrap(), 0);
    let frames = capture.frames();
    assert!(
        stream::complete_names(&frames)
            .iter()
            .all(|(_, name)| name == NAME)
    );
    let to_narrow = frames
        .iter()
        .filter_map(|frame| stream::segment(&frame.bytes));
    let sizes = to_narrow
        .filter(|s| s.to.ip() == NARROW4)
        .map(|s| s.payload.len());
    assert!(sizes.max().unwrap() <= 80, "the narrow route cuts segments");
}
