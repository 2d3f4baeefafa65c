//! The enforcement gauge of the daemon: at intervals the maps are compared with what they shall hold. A difference is an
//! alarm, and is repaired.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, warn};

use super::gate;
use super::server::Server;
use crate::config::Config;
use crate::desired::Desired;
use crate::kernel::error::chain;
use crate::kernel::{Filter, Gauge};
use crate::status::GaugeStatus;

/// Compares for ever.
pub(super) async fn follow(server: Server) {
    loop {
        let seconds = server.everything().map_or(60, |everything| {
            u64::from(everything.config.daemon.gauge_seconds)
        });
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        server.gauge().await;
    }
}

/// Compares, repairs what differs, and compares again.
pub(super) fn round(
    filter: &mut Filter,
    config: &Config,
    desired: &Desired,
    before: GaugeStatus,
) -> GaugeStatus {
    let started = Instant::now();
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let attachments = gate::attachments(config, desired);
    let first = filter.gauge(desired, &attachments);
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = GaugeStatus {
        at,
        milliseconds,
        alarms: before.alarms,
        last_alarm: before.last_alarm,
        ..GaugeStatus::default()
    };
    if let Ok(gauge) = &first
        && gauge.is_exact()
    {
        return told(status, gauge);
    }
    match &first {
        Ok(gauge) => error!(
            "the maps are not what they shall be ({}): repairing",
            kinds(gauge)
        ),
        Err(problem) => error!(
            "the maps cannot be compared ({}): repairing",
            chain(problem)
        ),
    }
    let repaired = filter.repair(desired, &attachments);
    let second = filter.gauge(desired, &attachments);
    let problems = [repaired.as_ref().err(), second.as_ref().err()];
    let status = GaugeStatus {
        alarms: status.alarms + 1,
        last_alarm: at,
        problem: problems
            .into_iter()
            .flatten()
            .next()
            .map(|error| chain(error)),
        ..status
    };
    let status = match &second {
        Ok(gauge) => told(status, gauge),
        Err(_) => status,
    };
    match &status.problem {
        Some(problem) => error!("the maps could not be repaired: {problem}"),
        None if status.differences.is_empty() => warn!("the maps are repaired"),
        None => error!("the maps still differ after a repair"),
    }
    status
}

fn told(status: GaugeStatus, gauge: &Gauge) -> GaugeStatus {
    let differences = gauge.differences.iter();
    GaugeStatus {
        expected: gauge.expected,
        present: gauge.present,
        differences: differences
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect(),
        ..status
    }
}

/// What differs, in words.
fn kinds(gauge: &Gauge) -> String {
    let kinds = gauge.differences.iter();
    let kinds: Vec<String> = kinds
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    kinds.join(", ")
}
