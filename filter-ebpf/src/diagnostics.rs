//! What cannot happen, told to the daemon's log where it does. Built with the feature `diagnostics` only,
//! which no program that ships has: aya-log's map is a legacy one, which bpftool and libxdp refuse.
//! Never told: an address or a name.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use filter_common::abi::{Outcome, Scratch};
use filter_common::reason::Reason;

/// A packet of an organisation met a state of the maps that there is not.
#[inline(always)]
pub(crate) fn packet(ctx: &XdpContext, outcome: Outcome, facts: &Scratch) {
    if outcome.reason == Reason::RefuseInternal.number() {
        warn!(
            ctx,
            "refuse_internal: organisation row {}, policy row {}, IPv{}, protocol {}",
            outcome.org,
            facts.policy,
            facts.version,
            facts.protocol
        );
    }
}

/// A packet passed because a map of one row has none.
#[inline(always)]
pub(crate) fn no_row(ctx: &XdpContext) {
    warn!(ctx, "CONTROL has no row: the packet passes");
}
