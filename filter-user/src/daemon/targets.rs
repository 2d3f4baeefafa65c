//! Where the safe forms of search engines are: their targets are asked for at the start, after a reload and before the
//! answers end. What is not found leaves in force what was found before.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::server::Server;
use crate::config::{Config, RESOLVERS};
use crate::desired::PortalAddresses;
use crate::safe_search::{self, Found};
use crate::status::TargetStatus;

/// Answers are asked for anew no sooner and no later than after these times, whatever their time to live.
const AGE_MIN: Duration = Duration::from_secs(5 * 60);
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Where one was not found.
const RETRY: Duration = Duration::from_secs(60);
/// Wait for one answer of one resolver.
const PATIENCE: Duration = Duration::from_secs(3);

/// Follows the targets for ever.
pub(super) async fn follow(server: Server) {
    let mut told = Vec::new();
    loop {
        let wait = round(&server, &mut told).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = server.reloaded.notified() => {}
        }
    }
}

/// Asks for every target once. Gives the time to the next round.
async fn round(server: &Server, told: &mut Vec<TargetStatus>) -> Duration {
    let Some(everything) = server.everything() else {
        return RETRY;
    };
    let targets = safe_search::targets(&everything.config);
    let mut asked = Vec::new();
    let mut wait = AGE_MAX;
    match resolver(&everything.config) {
        Ok(resolver) => {
            let mut tasks = JoinSet::new();
            let own = everything.config.infrastructure.iter();
            let own: Arc<[IpAddr]> = own.map(|own| own.address).collect();
            for (target, in_force) in targets {
                let question = Question {
                    target,
                    in_force,
                    own: Arc::clone(&own),
                };
                tasks.spawn(question.ask(resolver.clone()));
            }
            for (status, age) in tasks.join_all().await {
                asked.push(status);
                wait = wait.min(age.clamp(AGE_MIN, AGE_MAX));
            }
        }
        Err(problem) => asked.extend(targets.into_iter().map(|(target, addresses)| TargetStatus {
            target,
            addresses,
            problem: Some(problem.clone()),
        })),
    }
    asked.sort_by(|left, right| left.target.cmp(&right.target));
    if asked.iter().any(|status| status.problem.is_some()) {
        wait = RETRY;
    }
    tell(told, &asked);
    told.clone_from(&asked);
    let mut found: Found = everything.found.clone();
    let new = asked.iter().filter(|status| status.problem.is_none());
    found.extend(new.map(|status| (status.target.clone(), status.addresses)));
    server.lead(found, asked).await;
    wait
}

/// A line for each target of which there is something new to say.
fn tell(before: &[TargetStatus], now: &[TargetStatus]) {
    for status in now.iter().filter(|status| !before.contains(status)) {
        if status.problem.is_none() {
            info!("safe search: {status}");
        } else {
            warn!("safe search: {status}");
        }
    }
}

/// The provider's own resolvers, or those of this machine.
fn resolver(config: &Config) -> Result<TokioResolver, String> {
    let own = config.infrastructure.iter();
    let own = own.filter(|own| own.role == RESOLVERS);
    let servers: Vec<NameServerConfig> = own
        .map(|own| NameServerConfig::udp_and_tcp(own.address))
        .collect();
    let provider = TokioRuntimeProvider::default();
    let mut builder = if servers.is_empty() {
        Resolver::builder(provider).map_err(|error| {
            format!("no resolver: {error}; name some in [infrastructure] resolvers")
        })?
    } else {
        let own = ResolverConfig::from_parts(None, Vec::new(), servers);
        Resolver::builder_with_config(own, provider)
    };
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    options.cache_size = 0;
    builder.build().map_err(|error| error.to_string())
}

struct Question {
    target: String,
    /// Where it leads now.
    in_force: PortalAddresses,
    /// The provider's own addresses, where no engine is.
    own: Arc<[IpAddr]>,
}

impl Question {
    /// Asks for both families; with the time for which the answer is good.
    async fn ask(self, resolver: TokioResolver) -> (TargetStatus, Duration) {
        let whole = format!("{}.", self.target);
        let (four, six) = tokio::join!(
            resolver.ipv4_lookup(whole.as_str()),
            resolver.ipv6_lookup(whole.as_str())
        );
        let mut age = AGE_MAX;
        let found = self.addresses(&mut age, four, six);
        let problem = found.as_ref().err().cloned();
        let status = TargetStatus {
            target: self.target,
            addresses: found.unwrap_or(self.in_force),
            problem,
        };
        (status, age)
    }

    fn addresses(
        &self,
        age: &mut Duration,
        four: Result<Lookup, NetError>,
        six: Result<Lookup, NetError>,
    ) -> Result<PortalAddresses, String> {
        let four = records(age, four, |data| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        })?;
        let six = records(age, six, |data| match data {
            RData::AAAA(address) => Some(address.0),
            _ => None,
        })?;
        let found = PortalAddresses {
            v4: safe_search::choose(&four, self.in_force.v4, &self.own)?,
            v6: safe_search::choose(&six, self.in_force.v6, &self.own)?,
        };
        if found == PortalAddresses::default() {
            return Err("it has no address".to_owned());
        }
        Ok(found)
    }
}

/// The addresses of one family; none is no mistake.
fn records<A>(
    age: &mut Duration,
    answer: Result<Lookup, NetError>,
    address: impl Fn(&RData) -> Option<A>,
) -> Result<Vec<A>, String> {
    match answer {
        Ok(lookup) => {
            *age = (*age).min(
                lookup
                    .valid_until()
                    .saturating_duration_since(Instant::now()),
            );
            let records = lookup.answers().iter();
            Ok(records.filter_map(|record| address(&record.data)).collect())
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if none.response_code == ResponseCode::NoError =>
        {
            Ok(Vec::new())
        }
        Err(error) if error.is_nx_domain() => Err("there is no such name".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
