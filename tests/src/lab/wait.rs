//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Time between two looks at a condition.
const STEP: Duration = Duration::from_millis(5);

/// Looks at `condition` until it gives a value.
///
/// # Errors
/// It gave none within `limit`; the message names `what` was waited for.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(STEP);
    }
}

/// Looks at `condition` until it holds.
///
/// # Errors
/// It did not hold within `limit`; the message names `what` was waited for.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    until(what, limit, || condition().then_some(()))
}
