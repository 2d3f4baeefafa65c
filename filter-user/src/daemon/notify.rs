//! Telling systemd how far we are (`sd_notify`), without a library: one datagram.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, such as `READY=1`, where systemd listens; does nothing elsewhere.
pub(super) fn notify(state: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        // Nobody to tell is no fault of ours.
        let _ = send(&path, state);
    }
}

fn send(path: &OsString, state: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not hold a reload up.
    socket.set_nonblocking(true)?;
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_arrives() {
        let dir = crate::testing::TempDir::new();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(&path.into_os_string(), "READY=1").unwrap();
        let mut buffer = [0; 16];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn listener_that_does_not_read_holds_nobody_up() {
        let dir = crate::testing::TempDir::new();
        let path = dir.path().join("notify");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let path = path.into_os_string();
        let refused = (0..100_000).find_map(|_| send(&path, "RELOADING=1").err());
        assert_eq!(refused.unwrap().kind(), std::io::ErrorKind::WouldBlock);
    }
}
