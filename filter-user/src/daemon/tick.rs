//! What changes by the clock: at each boundary of a schedule, and when a bypass is given or ended, the
//! rows of the organisations concerned are written, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::core::Core;
use super::gate;
use super::server::Server;
use crate::bypass::{Bypass, REASON_MAX, SECONDS_MAX};
use crate::cli::Exit;
use crate::compile::Rules;
use crate::control::Response;
use crate::status::Given;

/// Longest wait: a clock that was set is noticed after so long.
const RECHECK: Duration = Duration::from_secs(60);
/// Wait after a change that did not come into force.
const AGAIN: Duration = Duration::from_secs(5);

/// Ticks for ever; `changed` is told when the next boundary may have moved.
pub(super) async fn follow(server: Server, changed: Arc<Notify>) {
    loop {
        let ticking = server.clone();
        let wait = tokio::task::spawn_blocking(move || ticking.core().tick());
        let wait = wait.await.unwrap_or(AGAIN);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed.notified() => {}
        }
    }
}

impl Core {
    /// Brings the maps to what schedules and bypasses say now. Gives the time to the next look.
    pub(super) fn tick(&mut self) -> Duration {
        let (Some(everything), Some(_)) = (self.everything.clone(), self.filter.as_ref()) else {
            return RECHECK;
        };
        let started = Instant::now();
        let now = Timestamp::now();
        let moment = self.bypasses.moment(now);
        let rules = Rules::at(&everything.config, &everything.numbers, &moment);
        let changes = self.rules.iter().zip(&rules.rules);
        let changed: Vec<usize> = (0..)
            .zip(changes)
            .filter_map(|(at, (before, after))| (before != after).then_some(at))
            .collect();
        if !changed.is_empty() {
            if let Err(refused) = gate::set_rules(self, &everything, &rules.rules, &changed) {
                warn!("schedule not in force: {}", refused.problem);
                return AGAIN;
            }
            info!(
                "schedule: {} organisations and segments changed in {} ms",
                changed.len(),
                started.elapsed().as_millis()
            );
        }
        let next = rules.next.map_or(RECHECK, |next| until(now, next));
        self.rules = rules.rules;
        next
    }

    /// Gives or ends (`seconds` is `None`) the bypass of an organisation or a segment, for `actor`.
    pub(super) fn bypass(
        &mut self,
        org: &str,
        seconds: Option<u64>,
        reason: &str,
        actor: Option<u32>,
    ) -> Response {
        let failure = |text: String| Response::failure(Exit::Problem, vec![text]);
        let known = self.everything.as_ref();
        let known = known.is_some_and(|everything| everything.config.organisation(org).is_some());
        if !known {
            return failure(format!("organisation {org} is not enrolled"));
        }
        let Some(actor) = actor else {
            return failure("who asks is not known: the socket tells no user".to_owned());
        };
        let now = Timestamp::now();
        if seconds.is_none() && !self.bypasses.list(now).contains_key(org) {
            return failure(format!("no bypass of {org} is in force"));
        }
        if let Some(seconds) = seconds {
            let plain = !reason.chars().any(char::is_control);
            let reasoned =
                !reason.trim().is_empty() && reason.chars().count() <= REASON_MAX && plain;
            if !(1..=SECONDS_MAX).contains(&seconds) || !reasoned {
                return failure(format!(
                    "a bypass lasts from a second to 12 hours, and has a reason of up to {REASON_MAX} characters on one line"
                ));
            }
        }
        let given = seconds.map(|seconds| Bypass::new(now, seconds, reason, actor));
        if let Err(problem) = self.audit(org, given.as_ref(), actor) {
            return failure(format!(
                "nothing changed, as the journal cannot be written: {problem}"
            ));
        }
        let directory = self.state_dir.path();
        if let Err(problem) = self.bypasses.put(directory, now, org, given.clone()) {
            return failure(problem.to_string());
        }
        self.tick();
        let until = given.as_ref().map_or(0, |given| given.until);
        Response::data(&Given {
            org: org.to_owned(),
            until,
            reason: reason.to_owned(),
        })
    }

    /// One line of the journal, before anything changes.
    fn audit(&mut self, org: &str, given: Option<&Bypass>, actor: u32) -> Result<(), String> {
        let action = if given.is_some() {
            "bypass"
        } else {
            "bypass_end"
        };
        let end = given.and_then(|given| Timestamp::from_second(given.until).ok());
        let detail = json!({
            "organisation": org,
            "until": end.map(|end| end.to_string()),
            "reason": given.map(|given| &given.reason),
        });
        self.record(&format!("uid {actor}"), action, detail)
    }
}

/// Time to a boundary, a little behind it, and never longer than [`RECHECK`].
fn until(now: Timestamp, next: Timestamp) -> Duration {
    let left = Duration::try_from(next.duration_since(now)).unwrap_or_default();
    (left + Duration::from_millis(2)).min(RECHECK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends_behind_the_boundary_or_after_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(until(at(10), at(40)) > Duration::from_secs(30));
        assert_eq!(until(at(10), at(4_000)), RECHECK);
        assert!(until(at(40), at(10)) < Duration::from_secs(1));
    }
}
