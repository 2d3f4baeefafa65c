//! The portal: what a person sees where the filter stopped something, and the way on from a warning.
//!
//! A request goes through [`http`] (limits, time-outs) to [`answer`] (which page), which asks [`view`]
//! (what is in force) and writes [`page`] or [`problem`]. It logs nothing and keeps nothing: a client's
//! address is used while its request is answered, and inside the keyed hashes of [`token`] and of a grant.

mod answer;
pub(crate) mod http;
mod limit;
mod page;
mod problem;
mod request;
mod texts;
mod token;
mod view;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config;
use limit::Limiter;
use token::Tokens;
pub(crate) use view::View;

/// What is in force, for those who answer: put here after every load, read by every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<RwLock<Option<Arc<View>>>>);

impl Slot {
    /// Puts what is in force now.
    pub(crate) fn put(&self, view: View) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
    }

    fn get(&self) -> Option<Arc<View>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The portal of a daemon.
#[derive(Debug)]
pub(crate) struct Portal {
    /// Settings of the start; those in force go first.
    settings: config::Portal,
    slot: Slot,
    tokens: Tokens,
    limiter: Limiter,
}

impl Portal {
    /// A portal that answers by what is in `slot`.
    ///
    /// # Errors
    /// The system gives no random key.
    pub(crate) fn new(settings: config::Portal, slot: Slot) -> io::Result<Portal> {
        Ok(Portal {
            settings,
            slot,
            tokens: Tokens::new()?,
            limiter: Limiter::new()?,
        })
    }
}

/// Random bytes of the system.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    use std::io::Read as _;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
