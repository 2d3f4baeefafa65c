//! The entry points.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use filter_common::pipeline::{Judged, conclude, judge};
use filter_common::verdict::Action;
use filter_common::world::World;

use crate::world::KernelWorld;
use crate::{count, parts};

/// The filter.
#[xdp]
pub(crate) fn schoolgate(ctx: XdpContext) -> u32 {
    #[cfg(feature = "tag-next")]
    // SAFETY: sets a register of the caller's and nothing else.
    unsafe {
        core::arch::asm!("r0 = 0", out("r0") _, options(nomem, nostack));
    }
    run(&ctx)
}

#[inline(always)]
fn run(ctx: &XdpContext) -> u32 {
    let Some(mut world) = KernelWorld::new(ctx.ctx) else {
        #[cfg(feature = "diagnostics")]
        crate::diagnostics::no_row(ctx);
        return XDP_PASS;
    };
    let reason = match judge(&mut world) {
        Judged::Untouched => {
            count::untouched();
            return XDP_PASS;
        }
        Judged::Enrolled(reason) => reason,
    };
    conclude(&mut world, reason);
    let outcome = world.facts().outcome;
    count::packet(outcome);
    #[cfg(feature = "diagnostics")]
    crate::diagnostics::packet(ctx, outcome, world.facts());
    if outcome.action == Action::Pass as u32 {
        return XDP_PASS;
    }
    if outcome.action == Action::Reset as u32 && parts::reset(ctx.ctx) != 0 {
        return XDP_TX;
    }
    if outcome.action == Action::Answer as u32 {
        let answered = if world.facts().quic != 0 {
            parts::version_negotiation(ctx.ctx)
        } else {
            parts::answer(ctx.ctx)
        };
        if answered != 0 {
            return XDP_TX;
        }
    }
    if outcome.action == Action::Redirect as u32 && parts::redirect(ctx.ctx) != 0 {
        return XDP_TX;
    }
    XDP_DROP
}

/// The empty program: the floor that the benchmark's figures stand on.
#[xdp]
pub(crate) fn floor(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// The program has no path that panics; if one came in, the verifier would refuse the endless loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Licence of the object: helpers in use are open to GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
