//! What a program built with the feature `diagnostics` tells of cases that cannot happen, into the
//! daemon's log. A program that ships tells nothing: it has no such map.

use std::io;
use std::thread;
use std::time::Duration;

use aya_log::EbpfLogger;
use log::Log;
use tracing::{info, warn};

use super::server::Server;

/// Time between two looks: what is told stays in the ring meanwhile.
const STEP: Duration = Duration::from_millis(200);

/// A program's ring, by the program's number; none if it has none.
type Ring = (u32, Option<EbpfLogger<&'static dyn Log>>);

/// Reads the ring of the program in force for as long as the daemon lives.
///
/// # Errors
/// No thread can be made.
pub(super) fn follow(server: Server) -> io::Result<()> {
    let mut ring: Option<Ring> = None;
    let endless = move || {
        loop {
            if let Some(program) = server.program()
                && ring.as_ref().is_none_or(|(of, _)| *of != program)
            {
                // A reload may have put another program in place.
                ring = Some((program, open(program)));
            }
            if let Some((_, Some(ring))) = &mut ring {
                ring.flush();
            }
            thread::sleep(STEP);
        }
    };
    thread::Builder::new()
        .name("diagnostics".to_owned())
        .spawn(endless)
        .map(drop)
}

fn open(program: u32) -> Option<EbpfLogger<&'static dyn Log>> {
    match EbpfLogger::init_from_id(program) {
        Ok(ring) => {
            info!("diagnostics of program {program} are read");
            Some(ring)
        }
        Err(error) => {
            warn!("program {program} tells no diagnostics: {error}");
            None
        }
    }
}
