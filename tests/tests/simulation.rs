//! Honest clients on a bad path: frames are lost on both sides of the filter, overtake each other,
//! come again alone or joined. None hangs, no blocked hello arrives whole.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use filter_common::reason::Reason;
use filter_user::kernel::run::XDP_PASS;
use schoolgate_tests::cases::world;
use schoolgate_tests::evasion::Random;
use schoolgate_tests::frames::Path;
use schoolgate_tests::gate::{Gate, SMALL, scaled};
use schoolgate_tests::lab::root_or_skip;
use schoolgate_tests::reference::{Understood, understand};
use schoolgate_tests::split::hellos;

/// Rounds of retransmission after which Linux gives a segment up (`tcp_retries2`), and a margin:
/// each round here loses as much as the first.
const ROUNDS: usize = 80;

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Delivered,
    Blocked,
    Starved,
    Stuck,
}

struct Client<'a> {
    hello: &'a [u8],
    path: Path,
    first: u32,
    cuts: Vec<usize>,
    got: Vec<bool>,
    acknowledged: usize,
}

impl Client<'_> {
    /// What it sends in a round: what is not acknowledged, sometimes joined, sometimes out of order.
    fn round(&self, random: &mut Random) -> Vec<(usize, usize)> {
        let mut list: Vec<(usize, usize)> = (self.cuts.windows(2))
            .map(|cut| (cut[0], cut[1]))
            .filter(|cut| cut.1 > self.acknowledged)
            .collect();
        if list.len() > 1 && random.once_in(5) {
            let at = random.below(list.len() - 1);
            let (_, end) = list.remove(at + 1);
            list[at].1 = end;
        }
        if list.len() > 1 && random.once_in(4) {
            let taken = list.remove(random.below(list.len()));
            let at = random.below(list.len() + 1);
            list.insert(at, taken);
        }
        list
    }

    fn frame(&self, from: usize, to: usize) -> Vec<u8> {
        self.path
            .data(self.first.wrapping_add(from as u32), &self.hello[from..to])
    }

    fn arrived(&self) -> usize {
        self.got.iter().take_while(|got| **got).count()
    }
}

/// Runs a flow to its end. One frame in five is lost in front of the filter, one in five behind it,
/// and one acknowledgement in five.
fn run_flow(gate: &mut Gate, client: &mut Client<'_>, random: &mut Random) -> End {
    while random.once_in(5) || !gate.passes(&client.path.syn(client.first)).unwrap() {}
    let mut blocked = false;
    for _ in 0..ROUNDS {
        for (from, to) in client.round(random) {
            if random.once_in(5) {
                continue;
            }
            let ran = gate.run(&client.frame(from, to)).unwrap();
            let outcome = ran.outcome.unwrap();
            if ran.result == XDP_PASS && !random.once_in(5) {
                client.got[from..to].fill(true);
            }
            let reason = Reason::from_number(outcome.reason).unwrap();
            if reason == Reason::RefuseStarved {
                return End::Starved;
            }
            blocked |= reason.verdict() == filter_common::verdict::Verdict::Block;
        }
        if !random.once_in(5) {
            client.acknowledged = client.arrived();
        }
        if client.acknowledged == client.hello.len() {
            return send_on(gate, client);
        }
    }
    if blocked { End::Blocked } else { End::Stuck }
}

/// The hello has arrived: what the client sends next must pass, or the client be told to start anew.
/// (A hello that came joined and then in parts again is read again, and the server waits for no more
/// of it.)
fn send_on(gate: &mut Gate, client: &Client<'_>) -> End {
    let behind = client.first.wrapping_add(client.hello.len() as u32);
    let later = client.path.data(behind, b"\x14\x03\x03\x00\x01\x01");
    for _ in 0..ROUNDS {
        let ran = gate.run(&later).unwrap();
        if ran.result == XDP_PASS {
            return End::Delivered;
        }
        if ran.outcome.map(|outcome| outcome.reason) == Some(Reason::RefuseStarved.number()) {
            return End::Starved;
        }
    }
    End::Stuck
}

#[test]
fn honest_clients_on_a_lossy_path() {
    if !root_or_skip("honest_clients_on_a_lossy_path") {
        return;
    }
    let mut gate = Gate::new(SMALL).unwrap();
    gate.apply(&world()).unwrap();
    let hellos = hellos();
    let mut random = Random::new(777);
    let count = scaled(6_000);
    let (mut starved, mut delivered, mut stopped) = (0, 0, 0);
    for number in 0..count {
        if number % 300 == 0 {
            gate.tables.forget_flows();
        }
        let (hello, blocked) = &hellos[number % hellos.len()];
        let mut cuts: Vec<usize> = (0..random.below(4))
            .map(|_| 1 + random.below(hello.len() - 1))
            .collect();
        cuts.extend([0, hello.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut client = Client {
            hello,
            path: Path {
                sport: 1_024 + number as u16,
                ..Path::default()
            },
            first: random.bits() as u32,
            cuts,
            got: vec![false; hello.len()],
            acknowledged: 0,
        };
        let end = run_flow(&mut gate, &mut client, &mut random);
        let read = understand(&hello[..client.arrived()]);
        let whole = matches!(read, Understood::Name(_));
        assert!(
            !(*blocked && whole),
            "flow {number}: a blocked hello arrived, cuts {:?}",
            client.cuts
        );
        match end {
            End::Stuck => panic!(
                "flow {number} hangs, blocked {blocked}, cuts {:?}, arrived {}",
                client.cuts,
                client.arrived()
            ),
            End::Starved if *blocked => stopped += 1,
            End::Starved => starved += 1,
            End::Delivered => delivered += 1,
            End::Blocked => stopped += 1,
        }
        if *blocked {
            assert_ne!(end, End::Delivered);
        } else {
            assert_ne!(
                end,
                End::Blocked,
                "flow {number}: an allowed hello was blocked"
            );
        }
    }
    println!(
        "{count} flows: {delivered} delivered, {stopped} blocked, {starved} allowed ones reset by the starvation rule, 0 stuck"
    );
}
