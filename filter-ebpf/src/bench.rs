//! For the benchmark only: a program that puts back what the filter changes (a flow's set, a hello's
//! state, bytes of the frame), draws random keys, and then calls the program in `NEXT` — the filter,
//! or the empty one for the cost of all this. Never attached anywhere.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[path = "pointer.rs"]
mod pointer;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
    use aya_ebpf::bindings::xdp_md;
    use aya_ebpf::btf_maps::{Array, ProgramArray};
    use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;
    use aya_ebpf::macros::{btf_map, xdp};
    use aya_ebpf::programs::XdpContext;
    use filter_common::abi::{FlowSet, HelloSlot};

    use crate::pointer::pointer;

    /// `BPF_F_MMAPABLE`.
    const MMAPABLE: usize = 1 << 10;
    /// Words of a flow set, and of a hello's row in front of its name.
    const FLOW_WORDS: usize = size_of::<FlowSet>() / 8;
    const HELLO_WORDS: usize = 8;

    /// Words of a frame that are put back at most.
    const FRAME_WORDS: usize = 20;

    /// What to do before each iteration; written by the benchmark. Offsets of 0 mean: nothing.
    #[repr(C)]
    struct Plan {
        /// State of the random numbers; not 0.
        random: u64,
        /// 1: put `flow` into set `flow_set` of `FLOWS`.
        restore_flow: u32,
        flow_set: u32,
        /// 1: put `hello` into row `hello_row` of `HELLOS`.
        restore_hello: u32,
        hello_row: u32,
        /// Frame offset of four random bytes.
        number_at: u32,
        /// Bits of them that stay as `number_bits` has them.
        number_keep: u32,
        number_bits: u32,
        /// Frame offset of eight random letters.
        letters_at: u32,
        /// Length of the frame that is put back from `frame`; 0: it is not changed.
        frame_len: u32,
        /// Zero.
        pad: u32,
        flow: [u64; FLOW_WORDS],
        hello: [u64; HELLO_WORDS],
        frame: [u64; FRAME_WORDS],
    }

    #[btf_map]
    static PLAN: Array<Plan, 1, MMAPABLE> = Array::new();
    #[btf_map]
    static FLOWS: Array<FlowSet, 1024, MMAPABLE> = Array::new();
    #[btf_map]
    static HELLOS: Array<HelloSlot, 1024, MMAPABLE> = Array::new();
    #[btf_map]
    static NEXT: ProgramArray<1> = ProgramArray::new();

    #[xdp]
    fn prepare(ctx: XdpContext) -> u32 {
        if let Some(plan) = PLAN.get_ptr_mut(0) {
            // SAFETY: a map value; test runs on one processor are its only users.
            let plan = unsafe { &mut *plan };
            restore(plan);
            restore_frame(ctx.ctx, plan);
            draw(ctx.ctx, plan);
        }
        // SAFETY: does not come back if the call succeeds.
        let _ = unsafe { NEXT.tail_call(&ctx, 0) };
        XDP_ABORTED
    }

    #[inline(always)]
    fn restore(plan: &Plan) {
        if plan.restore_flow != 0
            && let Some(set) = FLOWS.get_ptr_mut(plan.flow_set)
        {
            for (at, word) in plan.flow.iter().enumerate() {
                // SAFETY: `at` is a word of the map value.
                unsafe { set.cast::<u64>().add(at).write_volatile(*word) };
            }
        }
        if plan.restore_hello != 0
            && let Some(row) = HELLOS.get_ptr_mut(plan.hello_row)
        {
            for (at, word) in plan.hello.iter().enumerate() {
                // SAFETY: `at` is a word of the map value, in front of the name.
                unsafe { row.cast::<u64>().add(at).write_volatile(*word) };
            }
        }
    }

    /// The filter's answer has another length and other bytes.
    #[inline(always)]
    fn restore_frame(ctx: *mut xdp_md, plan: &Plan) {
        if plan.frame_len == 0 {
            return;
        }
        // SAFETY: the kernel gives a valid context for the whole run of the program.
        let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        // Seen as one number: LLVM would subtract the pointers one by one, which the verifier refuses.
        let len = core::hint::black_box(end - data) as u32;
        let delta = plan.frame_len.wrapping_sub(len) as i32;
        // SAFETY: as above. Called with 0 too, so that it costs alike in front of the empty program;
        // if it fails, the run shows another reason.
        let _ = unsafe { bpf_xdp_adjust_tail(ctx, delta) };
        for (at, word) in plan.frame.iter().enumerate() {
            let Some(place) = pointer::<8>(ctx, at as u32 * 8) else {
                break;
            };
            // SAFETY: eight bytes are there; BPF has unaligned stores.
            unsafe { *place.cast::<u64>() = *word };
        }
    }

    #[inline(always)]
    fn draw(ctx: *mut xdp_md, plan: &mut Plan) {
        let mut random = plan.random;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        plan.random = random;
        if plan.number_at != 0
            && let Some(at) = pointer::<4>(ctx, plan.number_at)
        {
            let number = random as u32 & !plan.number_keep | plan.number_bits;
            // SAFETY: four bytes are there.
            unsafe { *at.cast::<u32>() = number.to_be() };
        }
        if plan.letters_at != 0
            && let Some(at) = pointer::<8>(ctx, plan.letters_at)
        {
            let letters = (random & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
            // SAFETY: eight bytes are there.
            unsafe { *at.cast::<u64>() = letters };
        }
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}
