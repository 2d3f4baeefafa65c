//! A storm of connections that goes on while something happens to the filter: split and whole
//! ClientHellos with listed and unlisted names, and connections to a listed address.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::{Ended, client_hello, connect, ended_by, middle_of_name};
use super::namespace::{Handle, Namespace};
use super::pki::Authority;
use super::wait;

/// Senders at a time.
const SENDERS: u64 = 6;
/// Longest wait for a connection or an answer: more than the retransmission of what was held while the filter was
/// exchanged. That lasts 4 s at most (`abi::DRAIN_UNITS`); the first retransmission after so long is sent 6.2 s after
/// the segment (200 ms, doubled each time).
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two connections of a sender, so that two processors are not all the storm's.
const BREATH: Duration = Duration::from_millis(10);
/// Pauses in the middle of a name, in milliseconds: most are short, some outlast a reload.
const PAUSES: [u64; 8] = [1, 1, 1, 1, 20, 60, 150, 400];

/// What the storm asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Servers that answer to every name.
    pub servers: Vec<SocketAddr>,
    /// Names that must not get through.
    pub blocked: Vec<String>,
    /// Names that must get through.
    pub allowed: Vec<String>,
    /// Address that must not be reached, if any is listed.
    pub listed: Option<SocketAddr>,
}

/// What became of the connections so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Connections with a blocked name or to a listed address that were reset or refused.
    pub stopped: usize,
    /// Those that ended in silence or otherwise, without an answer of the server.
    pub silent: usize,
    /// Those that the server answered: there must be none.
    pub leaked: Vec<String>,
    /// Connections with an allowed name that the server answered.
    pub answered: usize,
    /// Those that it did not, with the time.
    pub failed: Vec<(Instant, String)>,
}

/// A running storm; ends on drop.
#[derive(Debug)]
pub struct Storm {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Storm {
    /// Starts sending from `client`.
    ///
    /// # Errors
    /// A name of the plan is none.
    pub fn start(client: &Namespace, authority: &Authority, plan: &Plan) -> anyhow::Result<Storm> {
        let kinds = Arc::new(kinds(authority, plan)?);
        let mut storm = Storm {
            tally: Arc::default(),
            stop: Arc::default(),
            senders: Vec::new(),
        };
        for seed in 1..=SENDERS {
            let (tally, stop) = (Arc::clone(&storm.tally), Arc::clone(&storm.stop));
            let (client, kinds) = (client.handle(), Arc::clone(&kinds));
            storm.senders.push(thread::spawn(move || {
                send(&client, &kinds, seed, &stop, &tally)
            }));
        }
        Ok(storm)
    }

    /// What became of the connections so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes on until `stopped` more blocked and `answered` more allowed connections have ended as
    /// they should.
    ///
    /// # Errors
    /// They have not within `limit`.
    pub fn go_on(&self, stopped: usize, answered: usize, limit: Duration) -> anyhow::Result<()> {
        let before = self.tally();
        let enough = || {
            let now = self.tally();
            now.stopped >= before.stopped + stopped && now.answered >= before.answered + answered
        };
        let waited = wait::until_true("blocked and allowed connections", limit, enough);
        waited.map_err(|error| error.context(format!("before {before:?}, now {:?}", self.tally())))
    }

    /// Ends the storm, and waits for the connections under way.
    #[must_use]
    pub fn end(mut self) -> Tally {
        self.join();
        self.tally()
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            // Its panic, if any, has been printed.
            let _ = sender.join();
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.join();
    }
}

/// A connection that the storm makes again and again.
#[derive(Debug)]
enum Kind {
    /// A ClientHello, with where its name is cut.
    Hello {
        to: SocketAddr,
        name: String,
        bytes: Vec<u8>,
        cut: usize,
        blocked: bool,
    },
    /// A connection without data.
    Connect(SocketAddr),
}

fn kinds(authority: &Authority, plan: &Plan) -> anyhow::Result<Vec<Kind>> {
    let mut kinds: Vec<Kind> = plan.listed.map(Kind::Connect).into_iter().collect();
    let names = plan.blocked.iter().map(|name| (name, true));
    for (name, blocked) in names.chain(plan.allowed.iter().map(|name| (name, false))) {
        let bytes = client_hello(authority, name)?;
        let cut = middle_of_name(&bytes, name).unwrap_or_default();
        kinds.extend(plan.servers.iter().map(|&to| {
            let (name, bytes) = (name.clone(), bytes.clone());
            Kind::Hello {
                to,
                name,
                bytes,
                cut,
                blocked,
            }
        }));
    }
    Ok(kinds)
}

fn send(client: &Handle, kinds: &[Kind], seed: u64, stop: &AtomicBool, tally: &Mutex<Tally>) {
    let mut random = Random(seed);
    let endless = || {
        while !stop.load(Ordering::Relaxed) {
            let kind = kinds.get(random.below(kinds.len()));
            let pause = PAUSES.get(random.below(PAUSES.len())).copied().unwrap_or(1);
            let whole = random.below(3) == 0;
            if let Some(kind) = kind {
                let pause = (!whole).then(|| Duration::from_millis(pause));
                let ended = kind.send(pause);
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                kind.note(&mut tally, ended);
            }
            thread::sleep(BREATH);
        }
    };
    if let Err(error) = client.enter(endless) {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally
            .failed
            .push((Instant::now(), format!("entering the namespace: {error}")));
    }
}

impl Kind {
    /// Makes the connection and sends what there is to send, cut where a pause is given.
    fn send(&self, pause: Option<Duration>) -> Ended {
        let sent = match self {
            Kind::Connect(to) => connect(*to, PATIENCE).map(|_| Ended::Page(String::new())),
            Kind::Hello { to, bytes, cut, .. } => {
                let (first, second) = bytes.split_at_checked(*cut).unwrap_or((bytes, &[]));
                exchange(*to, first, pause, second)
            }
        };
        sent.unwrap_or_else(|error| ended_by(&error))
    }

    fn note(&self, tally: &mut Tally, ended: Ended) {
        let (what, blocked) = match self {
            Kind::Connect(to) => (to.to_string(), true),
            Kind::Hello {
                to, name, blocked, ..
            } => (format!("{name} at {to}"), *blocked),
        };
        match (blocked, ended) {
            (true, Ended::Reset | Ended::Refused) => tally.stopped += 1,
            (true, Ended::Page(_)) => tally.leaked.push(what),
            (true, _) => tally.silent += 1,
            (false, Ended::Page(_)) => tally.answered += 1,
            (false, other) => tally
                .failed
                .push((Instant::now(), format!("{what}: {other:?}"))),
        }
    }
}

/// Sends a ClientHello in one or two writes; a page is whatever the server answers.
fn exchange(
    to: SocketAddr,
    first: &[u8],
    pause: Option<Duration>,
    second: &[u8],
) -> io::Result<Ended> {
    let mut stream = connect(to, PATIENCE)?;
    if let Some(pause) = pause {
        stream.write_all(first)?;
        // The pause is part of what is sent.
        thread::sleep(pause);
        stream.write_all(second)?;
    } else {
        stream.write_all(&[first, second].concat())?;
    }
    let mut answer = [0; 1];
    stream.read_exact(&mut answer)?;
    Ok(Ended::Page(String::new()))
}

/// A small generator, the same sequence for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }
}
