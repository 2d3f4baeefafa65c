//! How many requests a client may make: a school behind one address has many pupils, and none of them
//! may keep the others from their page. Addresses come in as keyed hashes and are not kept.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use filter_common::table::{finish, fold, position};

use super::random;
use crate::kernel::grants::halves;

/// Counters; clients whose hashes meet share one.
const COUNTERS: u32 = 4096;
/// Milliseconds that a request costs: twenty in a second go on for ever.
const COST_MS: u64 = 50;
/// Milliseconds that may be owed: two hundred requests at once.
const DEBT_MS: u64 = 200 * COST_MS;

/// One counter for each hash of an address: the moment at which its debt is paid.
#[derive(Debug)]
pub(super) struct Limiter {
    paid_at_ms: Box<[AtomicU64]>,
    seed: u64,
}

impl Limiter {
    pub(super) fn new() -> io::Result<Limiter> {
        Ok(Limiter {
            paid_at_ms: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            seed: u64::from_ne_bytes(random()?),
        })
    }

    /// Whether a client may make one more request at this moment.
    pub(super) fn allows(&self, client: IpAddr, now_ms: u64) -> bool {
        let (high, low) = halves(client);
        // A subnet of IPv6 is one client: it has addresses without end.
        let low = if high == 0 { low } else { 0 };
        let at = position(finish(fold(self.seed, high), low), COUNTERS);
        let Some(counter) = usize::try_from(at)
            .ok()
            .and_then(|at| self.paid_at_ms.get(at))
        else {
            return false;
        };
        let paid = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let paid = paid.max(now_ms);
            (paid - now_ms < DEBT_MS).then_some(paid + COST_MS)
        });
        paid.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_runs_out_and_comes_back_and_others_do_not_notice() {
        let limiter = Limiter::new().unwrap();
        let client = "192.0.2.1".parse().unwrap();
        let burst = (0..1_000).filter(|_| limiter.allows(client, 5_000)).count();
        assert_eq!(burst, 200);
        let later = (0..1_000).filter(|_| limiter.allows(client, 6_000)).count();
        assert_eq!(later, 20);
        let others = (2..100u8).filter(|at| limiter.allows([192, 0, 2, *at].into(), 6_000));
        assert!(others.count() > 90);
    }

    #[test]
    fn a_subnet_of_ipv6_is_one_client() {
        let limiter = Limiter::new().unwrap();
        let address = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        let burst = (0..1_000).filter(|at| limiter.allows(address(*at), 0));
        assert_eq!(burst.count(), 200);
    }
}
