//! The kernel's side of `filter_common::world::World`: maps, clock, claims, and the cuts into
//! separately verified functions.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated as helpers;
use core::arch::asm;
use filter_common::abi::{
    ANSWERS, Bucket, Class, Control, FlowSet, FlowSlot, Hello, HelloSlot, Interface, NetEntry, Org,
    Org6SplitKey, OrgRate, Policy, QuicFlow, Request, Scratch,
};
use filter_common::grant::{find_grant, grant_set};
use filter_common::limits::{MESSAGE_MASK, NAME_BUF, WAYS};
use filter_common::quic_flow::{find_quic, quic_set};
use filter_common::url::Paths;
use filter_common::world::World;

use crate::bytes::XdpPacket;
use crate::pointer::bound;
use crate::rows::{HELLO_WORDS, REQUEST_WORDS, RowPaths, copy_hello, copy_request};
use crate::{maps, parts};

/// A frame in the kernel and the maps around it.
pub(crate) struct KernelWorld {
    ctx: *mut xdp_md,
    control: *const Control,
    facts: *mut Scratch,
    flows: *mut FlowSet,
    message: *mut u8,
}

impl KernelWorld {
    /// The world of a context, without facts yet. `None` cannot happen, as the map has a row 0, but
    /// the verifier wants it said.
    #[inline(always)]
    pub(crate) fn new(ctx: *mut xdp_md) -> Option<KernelWorld> {
        let control = maps::CONTROL.get_ptr(0)?;
        let none = core::ptr::null_mut();
        Some(KernelWorld {
            ctx,
            control,
            facts: core::ptr::null_mut(),
            flows: none,
            message: core::ptr::null_mut(),
        })
    }

    /// The same with the facts, for the parts behind the identification.
    #[inline(always)]
    pub(crate) fn with_facts(ctx: *mut xdp_md) -> Option<KernelWorld> {
        let mut world = KernelWorld::new(ctx)?;
        if world.open_facts() {
            Some(world)
        } else {
            None
        }
    }

    /// The message's first byte.
    #[inline(always)]
    pub(crate) fn message_start(&self) -> *mut u8 {
        self.message
    }

    /// The context.
    #[inline(always)]
    pub(crate) fn ctx(&self) -> *mut xdp_md {
        self.ctx
    }
}

/// Replaces the word at `place` if it is `old`; gives the word that was there.
///
/// `core::sync::atomic` has loads and stores only for this target; `-Ctarget-cpu=v3` has the
/// instruction (kernel 5.12).
#[inline(always)]
fn compare_and_swap(place: *mut u64, old: u64, new: u64) -> u64 {
    let mut seen = old;
    // SAFETY: `place` points to eight aligned bytes of a map value, by the callers.
    unsafe {
        asm!("r0 = cmpxchg_64({p} + 0, r0, {n})", p = in(reg) place, n = in(reg) new, inout("r0") seen, options(nostack));
    }
    seen
}

impl World for KernelWorld {
    type Packet = XdpPacket;

    #[inline(always)]
    fn packet(&self) -> XdpPacket {
        XdpPacket(self.ctx)
    }
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the kernel gives a valid context for the whole run of the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }
    #[inline(always)]
    fn now_ms(&self) -> u32 {
        // SAFETY: the helper has no conditions (kernel 5.5); it is inlined to one load, a clock's
        // helper costs a call.
        (unsafe { helpers::bpf_jiffies64() } as u32).wrapping_mul(self.control().ms_per_tick)
    }
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper has no conditions.
        unsafe { helpers::bpf_ktime_get_ns() }
    }
    #[inline(always)]
    fn forget(&mut self, value: u32) -> u32 {
        // SAFETY: the scratch row is valid for the whole run and belongs to this processor. Volatile,
        // so that the value really goes through map memory, where the verifier tracks nothing.
        unsafe {
            let place = &raw mut (*self.facts).spare[3];
            place.write_volatile(value);
            place.read_volatile()
        }
    }
    #[inline(always)]
    fn put_aside(&mut self, place: usize, value: u32) {
        // SAFETY: as in `forget`; the places that are asked for are constants within the words.
        unsafe {
            (&raw mut (*self.facts).spare)
                .cast::<u32>()
                .add(place)
                .write_volatile(value);
        }
    }
    #[inline(always)]
    fn aside(&mut self, place: usize) -> u32 {
        // SAFETY: as in `put_aside`.
        unsafe {
            (&raw const (*self.facts).spare)
                .cast::<u32>()
                .add(place)
                .read_volatile()
        }
    }
    #[inline(always)]
    fn start_hello(&mut self) {
        // SAFETY: the scratch row is valid for the whole run and belongs to this processor; a `Hello`
        // is `HELLO_WORDS` words of integers, and `Hello::START` is all zeros.
        unsafe {
            let words = (&raw mut (*self.facts).hello).cast::<u64>();
            for word in 0..HELLO_WORDS {
                words.add(word).write_volatile(0);
            }
        }
    }
    #[inline(always)]
    fn load_hello(&mut self, row: u32) {
        let Some(slot) = self.hello(row) else { return };
        let from = &raw const slot.hello;
        copy_hello(from, &raw mut self.facts().hello);
    }
    #[inline(always)]
    fn save_hello(&mut self, row: u32) {
        let from = &raw const self.facts().hello;
        if let Some(slot) = self.hello(row) {
            copy_hello(from, &raw mut slot.hello);
        }
    }
    #[inline(always)]
    fn hello_and_name(&mut self, row: u32) -> Option<(&mut Hello, &mut [u8; NAME_BUF])> {
        let slot = maps::HELLOS.get_ptr_mut(row)?;
        // SAFETY: two different map values; the flow in hand owns the row under its set's claim.
        unsafe { Some((&mut (*self.facts).hello, &mut (*slot).name)) }
    }
    #[inline(always)]
    fn start_request(&mut self) {
        // SAFETY: the scratch row is valid for the whole run and belongs to this processor; a `Request`
        // is `REQUEST_WORDS` words of integers, and zeros are its start.
        unsafe {
            let words = (&raw mut (*self.facts).request).cast::<u64>();
            for word in 0..REQUEST_WORDS {
                words.add(word).write_volatile(0);
            }
        }
    }
    #[inline(always)]
    fn load_request(&mut self, row: u32) {
        let Some(slot) = self.hello(row) else { return };
        let from = &raw const slot.request;
        copy_request(from, &raw mut self.facts().request);
    }
    #[inline(always)]
    fn save_request(&mut self, row: u32) {
        let from = &raw const self.facts().request;
        if let Some(slot) = self.hello(row) {
            copy_request(from, &raw mut slot.request);
        }
    }
    type Paths<'a> = RowPaths;
    #[inline(always)]
    fn request_and_buffers(
        &mut self,
        row: u32,
    ) -> Option<(&mut Request, &mut [u8; NAME_BUF], RowPaths)> {
        let slot = maps::HELLOS.get_ptr_mut(row)?;
        // SAFETY: places of two map values that do not overlap; the flow in hand owns the row under its
        // set's claim.
        unsafe {
            Some((
                &mut (*self.facts).request,
                &mut (*slot).name,
                RowPaths((&raw mut (*slot).paths).cast()),
            ))
        }
    }
    #[inline(always)]
    fn path(&mut self, row: u32, place: u32) -> u64 {
        let Some(slot) = maps::HELLOS.get_ptr_mut(row) else {
            return 0;
        };
        // SAFETY: as in `request_and_buffers`.
        RowPaths(unsafe { (&raw mut (*slot).paths).cast() }).hash(place as usize)
    }
    #[inline(always)]
    fn dead(&self, row: u32) -> u32 {
        maps::DEAD.get(row).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set_dead(&mut self, row: u32, second: u32) {
        if let Some(place) = maps::DEAD.get_ptr_mut(row) {
            // SAFETY: a map value; one word, of which the last writer's is as good as any.
            unsafe { place.write_volatile(second) };
        }
    }
    #[inline(always)]
    fn control(&self) -> &Control {
        // SAFETY: a map value found in `new`, valid for the whole run; words change one by one.
        unsafe { &*self.control }
    }
    #[inline(always)]
    fn open_facts(&mut self) -> bool {
        match maps::SCRATCH.get_ptr_mut(0) {
            Some(facts) => {
                self.facts = facts;
                true
            }
            None => false,
        }
    }
    #[inline(always)]
    fn facts(&mut self) -> &mut Scratch {
        // SAFETY: a map value found in `open_facts`, valid for the whole run, this processor's own.
        unsafe { &mut *self.facts }
    }
    #[inline(always)]
    fn interface(&self, row: u32) -> Option<Interface> {
        maps::INTERFACES.get(row).copied()
    }
    #[inline(always)]
    fn vlan_realms(&self, word: u32) -> Option<u64> {
        maps::VLAN_REALMS.get(word).copied()
    }
    #[inline(always)]
    fn org4_index(&self, word: u32) -> Option<u64> {
        maps::ORG4_INDEX.get(word).copied()
    }
    #[inline(always)]
    fn org4_page(&self, word: u32) -> Option<u64> {
        maps::ORG4_PAGES.get(word).copied()
    }
    #[inline(always)]
    fn org6_bloom(&self, word: u32) -> Option<u64> {
        maps::ORG6_BLOOM.get(word).copied()
    }
    #[inline(always)]
    fn org6_bucket(&self, bucket: u32) -> Option<&Bucket> {
        maps::ORG6.get(bucket)
    }
    #[inline(always)]
    fn org6_split(&mut self, realm: u32) -> u32 {
        let [w0, w1, w2, w3] = self.facts().source.map(u32::to_be_bytes);
        let address = [
            w0[0], w0[1], w0[2], w0[3], w1[0], w1[1], w1[2], w1[3], w2[0], w2[1], w2[2], w2[3],
            w3[0], w3[1], w3[2], w3[3],
        ];
        let key = Key::new(
            160,
            Org6SplitKey {
                realm: realm.to_be_bytes(),
                address,
            },
        );
        maps::ORG6_SPLIT.get(&key).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn org(&self, org: u32) -> Option<&Org> {
        maps::ORGS.get(org)
    }
    #[inline(always)]
    fn policy(&self, row: u32) -> Option<&Policy> {
        maps::POLICIES.get(row)
    }
    #[inline(always)]
    fn class(&self, row: u32) -> Option<&Class> {
        maps::CLASSES.get(row)
    }
    #[inline(always)]
    fn name_bloom(&self, word: u32) -> Option<u64> {
        maps::NAME_BLOOM.get(word).copied()
    }
    #[inline(always)]
    fn address_bloom(&self, word: u32) -> Option<u64> {
        maps::ADDRESS_BLOOM.get(word).copied()
    }
    #[inline(always)]
    fn subject_bucket(&self, bucket: u32) -> Option<&Bucket> {
        maps::SUBJECTS.get(bucket)
    }
    #[inline(always)]
    fn subject_entry(&self, bucket: u32, slot: u32) -> u32 {
        let Some(row) = maps::SUBJECT_ENTRIES.get(bucket) else {
            return 0;
        };
        row.entries.get((slot & 7) as usize).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn block4_bits(&self, word: u32) -> Option<u64> {
        maps::BLOCK4_BITS.get(word).copied()
    }
    #[inline(always)]
    fn net4_bits(&self, word: u32) -> Option<u64> {
        maps::NET4_BITS.get(word).copied()
    }
    #[inline(always)]
    fn net4(&mut self) -> Option<NetEntry> {
        let address = self.facts().destination[3].to_be_bytes();
        maps::NET4.get(&Key::new(32, address)).copied()
    }
    #[inline(always)]
    fn net6_bloom(&self, word: u32) -> Option<u64> {
        maps::NET6_BLOOM.get(word).copied()
    }
    #[inline(always)]
    fn net6(&mut self) -> Option<NetEntry> {
        let [w0, w1, w2, w3] = self.facts().destination.map(u32::to_be_bytes);
        let address = [
            w0[0], w0[1], w0[2], w0[3], w1[0], w1[1], w1[2], w1[3], w2[0], w2[1], w2[2], w2[3],
            w3[0], w3[1], w3[2], w3[3],
        ];
        maps::NET6.get(&Key::new(128, address)).copied()
    }
    #[inline(always)]
    fn grant_until(&self, key: u64) -> u64 {
        let Some(set) = maps::GRANTS.get_ptr(grant_set(key)) else {
            return 0;
        };
        let words = set.cast::<u64>();
        // SAFETY: a map value of eight aligned words, of which `find_grant` reads each by its place.
        // Volatile, so that the reads stay in their order.
        find_grant(key, |word| unsafe { words.add(word).read_volatile() })
    }
    #[inline(always)]
    fn quic_flow(&self, key: u64) -> (u64, u32) {
        let Some(set) = maps::QUIC_FLOWS.get_ptr(quic_set(key)) else {
            return (0, 0);
        };
        let words = set.cast::<u64>();
        // SAFETY: as in `grant_until`, with sixteen words.
        find_quic(key, |word| unsafe { words.add(word).read_volatile() })
    }
    #[inline(always)]
    fn swap_quic_state(&mut self, key: u64, old: u64, new: u64) {
        let Some(set) = maps::QUIC_FLOWS.get_ptr_mut(quic_set(key)) else {
            return;
        };
        for way in 0..WAYS {
            // SAFETY: the way is within the set, a map value of aligned words.
            let place = unsafe { (&raw mut (*set).ways).cast::<QuicFlow>().add(way) };
            // SAFETY: as above.
            if unsafe { (*place).key } == key {
                // SAFETY: as above.
                compare_and_swap(unsafe { &raw mut (*place).state }, old, new);
            }
        }
    }
    #[inline(always)]
    fn inspector_until(&self) -> u64 {
        maps::QUIC_WATCH.get(0).map_or(0, |watch| watch.until_ns)
    }
    #[inline(always)]
    fn call_copy(&mut self, key: u64) -> u32 {
        parts::copy(self.ctx, key)
    }
    #[inline(always)]
    fn org_rate(&mut self, org: u32) -> Option<&mut OrgRate> {
        let row = maps::ORG_RATES.get_ptr_mut(org)?;
        // SAFETY: a map value; other processors may change its integers meanwhile, which is said of it.
        Some(unsafe { &mut *row })
    }
    #[inline(always)]
    fn flow_tags(&self, set: u32) -> u64 {
        maps::FLOW_TAGS.get(set).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set_flow_tags(&mut self, set: u32, tags: u64) {
        if let Some(place) = maps::FLOW_TAGS.get_ptr_mut(set) {
            // SAFETY: a map value, written under the claim of its set only.
            unsafe { place.write_volatile(tags) };
        }
    }
    #[inline(always)]
    fn open_flows(&mut self, set: u32) -> bool {
        match maps::FLOWS.get_ptr_mut(set) {
            Some(flows) => {
                self.flows = flows;
                true
            }
            None => false,
        }
    }
    #[inline(always)]
    fn flows(&mut self) -> &mut FlowSet {
        // SAFETY: only after `open_flows` gave true; a map value, whose slots are written under the
        // set's claim only (but for the mark `LATER`, by compare-and-swap).
        unsafe { &mut *self.flows }
    }
    #[inline(always)]
    fn slot(&mut self, way: usize) -> &mut FlowSlot {
        // By a mask that stays in the code: kernel 6.1 knows nothing more of a number that a register
        // was compared for while it stood on the stack. A set has four ways.
        let way = bound::<{ WAYS as u32 - 1 }>(way as u32);
        // SAFETY: as in `flows`; the way is within the set.
        unsafe { &mut *(&raw mut (*self.flows).slots).cast::<FlowSlot>().add(way) }
    }
    #[inline(always)]
    fn claim_flows(&mut self) -> bool {
        crate::claim::take(self.flows)
    }
    #[inline(always)]
    fn release_flows(&mut self) {
        crate::claim::give(self.flows);
    }
    #[inline(always)]
    fn swap_state(&mut self, way: usize, old: u64, new: u64) {
        compare_and_swap(&raw mut self.slot(way).state, old, new);
    }
    #[inline(always)]
    fn answer_word(&self, row: u32, word: u32) -> u32 {
        let row = maps::ANSWERS.get(row & (ANSWERS - 1));
        let word = row.and_then(|row| row.words.get(word as usize));
        word.copied().unwrap_or(0)
    }
    #[inline(always)]
    fn open_message(&mut self) -> bool {
        match maps::MESSAGE.get_ptr_mut(0) {
            Some(message) => {
                self.message = message.cast();
                true
            }
            None => false,
        }
    }
    #[inline(always)]
    fn message_u8(&mut self, at: u32) -> u32 {
        // SAFETY: after `open_message` a map value of this processor's own; the mask keeps within it.
        u32::from(unsafe { self.message.add(bound::<MESSAGE_MASK>(at)).read() })
    }
    #[inline(always)]
    fn put_message_u8(&mut self, at: u32, value: u32) {
        // SAFETY: as in `message_u8`.
        unsafe {
            self.message
                .add(bound::<MESSAGE_MASK>(at))
                .write(value as u8);
        }
    }
    #[inline(always)]
    fn message_word(&mut self, at: u32) -> u64 {
        // SAFETY: as in `message_u8`, with a word of slack behind; BPF has unaligned loads.
        unsafe { *self.message.add(bound::<MESSAGE_MASK>(at)).cast::<u64>() }
    }
    #[inline(always)]
    fn put_message_word(&mut self, at: u32, word: u64) {
        // SAFETY: as in `message_word`.
        unsafe { *self.message.add(bound::<MESSAGE_MASK>(at)).cast::<u64>() = word };
    }
    #[inline(always)]
    fn hello(&mut self, row: u32) -> Option<&mut HelloSlot> {
        let row = maps::HELLOS.get_ptr_mut(row)?;
        // SAFETY: a map value; the flow whose key it holds owns it under its set's claim.
        Some(unsafe { &mut *row })
    }
    #[inline(always)]
    fn swap_stamp(&mut self, row: u32, old: u64, new: u64) -> bool {
        let Some(slot) = self.hello(row) else {
            return false;
        };
        compare_and_swap(&raw mut slot.stamp, old, new) == old
    }

    #[inline(always)]
    fn call_link(&mut self) {
        parts::link(self.ctx);
    }
    #[inline(always)]
    fn call_inward(&mut self, row: u32) -> u32 {
        parts::inward(self.ctx, row)
    }
    #[inline(always)]
    fn call_extensions(&mut self) -> u32 {
        parts::extensions(self.ctx)
    }
    #[inline(always)]
    fn call_subject(&mut self, key: u64, dot: u64, left: u32) {
        parts::subject(key, dot, left);
    }
    #[inline(always)]
    fn call_net(&mut self) {
        parts::net();
    }
    #[inline(always)]
    fn call_query(&mut self) -> u32 {
        parts::query(self.ctx)
    }
    #[inline(always)]
    fn call_quic(&mut self, fragment: u32) -> u32 {
        parts::quic_datagram(self.ctx, fragment)
    }
    #[inline(always)]
    fn call_carries_handshake(&mut self) -> u32 {
        parts::carries_handshake(self.ctx)
    }
    #[inline(always)]
    fn call_mark_answerable(&mut self) {
        parts::mark_answerable(self.ctx);
    }
    #[inline(always)]
    fn call_endpoint(&mut self) -> u32 {
        parts::endpoint()
    }
    #[inline(always)]
    fn call_granted(&mut self, entry: u32) -> u32 {
        parts::granted(entry)
    }
    #[inline(always)]
    fn call_syn(&mut self) -> u32 {
        parts::syn()
    }
    #[inline(always)]
    fn call_payload(&mut self) -> u32 {
        parts::payload(self.ctx)
    }
    #[inline(always)]
    fn call_steps(&mut self, row: u32) -> u32 {
        parts::steps(self.ctx, row)
    }
    #[inline(always)]
    fn call_parse_requests(&mut self) -> u32 {
        parts::parse_requests(self.ctx)
    }
    #[inline(always)]
    fn call_request_steps(&mut self, row: u32) -> u32 {
        parts::request_steps(self.ctx, row)
    }
    #[inline(always)]
    fn call_judge_request(&mut self, row: u32, outcome: u32) -> u32 {
        parts::judge_request(row, outcome)
    }
    #[inline(always)]
    fn call_urls(&mut self, row: u32) {
        parts::urls(row);
    }
    #[inline(always)]
    fn call_ended(&mut self) -> u32 {
        parts::ended()
    }
    #[inline(always)]
    fn call_name_in_row(&mut self, row: u32) {
        parts::name_in_row(row);
    }
    #[inline(always)]
    fn call_hash(&mut self, from: u32, len: u32) -> u32 {
        parts::hash(self.ctx, from, len)
    }
}
