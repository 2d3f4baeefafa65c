//! Everything around the pipeline: the frame, the maps, the clock.

use crate::abi::{
    Bucket, Class, Control, FlowSet, FlowSlot, Hello, HelloSlot, Interface, NetEntry, Org, OrgRate,
    Policy, Request, Scratch,
};
use crate::bytes::Packet;
use crate::grant::granted;
use crate::identify::link_into_facts;
use crate::inward::inward;
use crate::limits::{NAME_BUF, REQUEST_STEPS_MAX, STEPS_MAX};
use crate::lookup::{net_found, subject_found};
use crate::packet::read_extensions;
use crate::request;
use crate::segment::{hash_payload, step_facts};
use crate::url::Paths;
use crate::walk::name_in_row;
use crate::{dns, encrypted, flow, http, quic, tls};

/// Everything around the pipeline: the frame, the maps, the clock, and the places where the kernel
/// cuts the text into separately verified functions (the `call_*` methods).
pub trait World: Sized {
    /// The frame.
    type Packet: Packet;

    /// The frame in hand.
    fn packet(&self) -> Self::Packet;
    /// Number of the interface it came from.
    fn ifindex(&self) -> u32;
    /// Milliseconds of a coarse monotonic clock: the kernel's ticks.
    fn now_ms(&self) -> u32;
    /// Nanoseconds of the monotonic clock.
    fn now_ns(&self) -> u64;
    /// The same value; the kernel's verifier forgets what it knew of it.
    fn forget(&mut self, value: u32) -> u32;

    /// Puts a number aside in the facts: what is got back is forgotten as by [`World::forget`].
    fn put_aside(&mut self, place: usize, value: u32) {
        if let Some(spare) = self.facts().spare.get_mut(place) {
            *spare = value;
        }
    }
    /// A number that was put aside.
    fn aside(&mut self, place: usize) -> u32 {
        self.facts().spare.get(place).copied().unwrap_or(0)
    }

    /// Puts [`Hello::START`] into the facts. The kernel writes word by word: LLVM makes a call of it
    /// otherwise, which the verifier refuses.
    fn start_hello(&mut self) {
        self.facts().hello = Hello::START;
    }

    /// Copies the parser's state of a row of `HELLOS` into the facts.
    fn load_hello(&mut self, row: u32) {
        if let Some(hello) = self.hello(row).map(|slot| slot.hello) {
            self.facts().hello = hello;
        }
    }
    /// Copies the parser's state from the facts into a row of `HELLOS`.
    fn save_hello(&mut self, row: u32) {
        let hello = self.facts().hello;
        if let Some(slot) = self.hello(row) {
            slot.hello = hello;
        }
    }
    /// The parser's state in the facts, and the name of a row of `HELLOS`.
    fn hello_and_name(&mut self, row: u32) -> Option<(&mut Hello, &mut [u8; NAME_BUF])>;

    /// Puts the state in front of a request into the facts.
    fn start_request(&mut self) {
        self.facts().request = Request::default();
    }
    /// Copies the reader's state of a row of `HELLOS` into the facts.
    fn load_request(&mut self, row: u32) {
        if let Some(request) = self.hello(row).map(|slot| slot.request) {
            self.facts().request = request;
        }
    }
    /// Copies the reader's state from the facts into a row of `HELLOS`.
    fn save_request(&mut self, row: u32) {
        let request = self.facts().request;
        if let Some(slot) = self.hello(row) {
            slot.request = request;
        }
    }
    /// The hashes of a row of `HELLOS`.
    type Paths<'a>: Paths
    where
        Self: 'a;
    /// The reader's state in the facts, with the name and the hashes of a row of `HELLOS`.
    fn request_and_buffers(
        &mut self,
        row: u32,
    ) -> Option<(&mut Request, &mut [u8; NAME_BUF], Self::Paths<'_>)>;
    /// A hash of a row of `HELLOS`.
    fn path(&mut self, row: u32, place: u32) -> u64;
    /// A row of `DEAD`.
    fn dead(&self, row: u32) -> u32;
    /// Writes it.
    fn set_dead(&mut self, row: u32, second: u32);

    /// The row of `CONTROL`.
    fn control(&self) -> &Control;
    /// Finds the row of `SCRATCH`; false: there is none. Before it, [`World::facts`] must not be asked for:
    /// the packet of an address that is not enrolled does not pay for it.
    fn open_facts(&mut self) -> bool {
        true
    }
    /// The row of `SCRATCH`.
    fn facts(&mut self) -> &mut Scratch;
    /// A row of `INTERFACES`.
    fn interface(&self, row: u32) -> Option<Interface>;
    /// A word of `VLAN_REALMS`.
    fn vlan_realms(&self, word: u32) -> Option<u64>;
    /// A word of `ORG4_INDEX`.
    fn org4_index(&self, word: u32) -> Option<u64>;
    /// A word of `ORG4_PAGES`.
    fn org4_page(&self, word: u32) -> Option<u64>;
    /// A word of `ORG6_BLOOM`.
    fn org6_bloom(&self, word: u32) -> Option<u64>;
    /// A bucket of `ORG6`.
    fn org6_bucket(&self, bucket: u32) -> Option<&Bucket>;
    /// The longest match of the source address (`facts.source`) in `ORG6_SPLIT`, 0 if there is none.
    fn org6_split(&mut self, realm: u32) -> u32;
    /// A row of `ORGS`.
    fn org(&self, org: u32) -> Option<&Org>;
    /// A row of `POLICIES`.
    fn policy(&self, row: u32) -> Option<&Policy>;
    /// A row of `CLASSES`.
    fn class(&self, row: u32) -> Option<&Class>;
    /// A word of `NAME_BLOOM`.
    fn name_bloom(&self, word: u32) -> Option<u64>;
    /// A word of `ADDRESS_BLOOM`.
    fn address_bloom(&self, word: u32) -> Option<u64>;
    /// A bucket of `SUBJECTS`.
    fn subject_bucket(&self, bucket: u32) -> Option<&Bucket>;
    /// The entry number beside a slot.
    fn subject_entry(&self, bucket: u32, slot: u32) -> u32;
    /// A word of `BLOCK4_BITS`.
    fn block4_bits(&self, word: u32) -> Option<u64>;
    /// A word of `NET4_BITS`.
    fn net4_bits(&self, word: u32) -> Option<u64>;
    /// The longest match of the destination address in `NET4`.
    fn net4(&mut self) -> Option<NetEntry>;
    /// A word of `NET6_BLOOM`.
    fn net6_bloom(&self, word: u32) -> Option<u64>;
    /// The longest match of the destination address in `NET6`.
    fn net6(&mut self) -> Option<NetEntry>;
    /// The end of the grant with this key, by [`crate::grant::find_grant`]; 0: there is none.
    fn grant_until(&self, key: u64) -> u64;
    /// State word and entry of the QUIC flow with this key, by [`crate::quic_flow::find_quic`].
    fn quic_flow(&self, key: u64) -> (u64, u32);
    /// Replaces the state word of the QUIC flow with this key if it still is `old`.
    fn swap_quic_state(&mut self, key: u64, old: u64, new: u64);
    /// `QuicWatch::until_ns`.
    fn inspector_until(&self) -> u64;
    /// Hands a copy of the frame to the daemon; 1 if there was room.
    fn call_copy(&mut self, key: u64) -> u32;
    /// A row of `ORG_RATES`.
    fn org_rate(&mut self, org: u32) -> Option<&mut OrgRate>;

    /// The word of `FLOW_TAGS` beside a set of `FLOWS`.
    fn flow_tags(&self, set: u32) -> u64;
    /// Replaces it, under the set's claim.
    fn set_flow_tags(&mut self, set: u32, tags: u64);
    /// Makes `set` of `FLOWS` the one that [`World::flows`] gives. False: there is no such set.
    fn open_flows(&mut self, set: u32) -> bool;
    /// The set of flows opened last.
    fn flows(&mut self) -> &mut FlowSet;
    /// The slot of a way of that set.
    fn slot(&mut self, way: usize) -> &mut FlowSlot;
    /// Claims the opened set for this processor; false if that did not succeed soon.
    fn claim_flows(&mut self) -> bool;
    /// Gives the claim back.
    fn release_flows(&mut self);
    /// Replaces the state word of `way` if it still is `old`.
    fn swap_state(&mut self, way: usize, old: u64, new: u64);
    /// A word of a row of `ANSWERS`.
    fn answer_word(&self, row: u32, word: u32) -> u32;
    /// Finds the row of `MESSAGE`; false: there is none. Before it none of the four below may be asked for.
    fn open_message(&mut self) -> bool;
    /// A byte of the message.
    fn message_u8(&mut self, at: u32) -> u32;
    /// Writes a byte of the message.
    fn put_message_u8(&mut self, at: u32, value: u32);
    /// Eight bytes of the message, the first one lowest.
    fn message_word(&mut self, at: u32) -> u64;
    /// Writes eight bytes of the message.
    fn put_message_word(&mut self, at: u32, word: u64);
    /// A row of `HELLOS`.
    fn hello(&mut self, row: u32) -> Option<&mut HelloSlot>;
    /// Replaces the stamp of a row of `HELLOS` if it still is `old`; true if it was.
    fn swap_stamp(&mut self, row: u32, old: u64, new: u64) -> bool;

    /// [`read_link`] for a frame with tags; fills `l3`, `pppoe_at`, `mpls_at`, `version` and
    /// `spare[0]` (VLAN id) of the facts.
    fn call_link(&mut self) {
        link_into_facts(self);
    }
    /// [`inward`].
    fn call_inward(&mut self, row: u32) -> u32 {
        inward(self, row)
    }
    /// [`read_extensions`].
    fn call_extensions(&mut self) -> u32 {
        let packet = self.packet();
        read_extensions(packet, self.facts())
    }
    /// [`subject_found`].
    fn call_subject(&mut self, key: u64, dot: u64, left: u32) {
        subject_found(self, key, dot, left);
    }
    /// [`net_found`].
    fn call_net(&mut self) {
        net_found(self);
    }
    /// [`dns::query`].
    fn call_query(&mut self) -> u32 {
        dns::query(self)
    }
    /// [`quic::datagram`].
    fn call_quic(&mut self, fragment: u32) -> u32 {
        quic::datagram(self, fragment)
    }
    /// [`quic::carries_handshake`], as 0 or 1.
    fn call_carries_handshake(&mut self) -> u32 {
        quic::carries_handshake(self) as u32
    }
    /// [`quic::mark_answerable`].
    fn call_mark_answerable(&mut self) {
        quic::mark_answerable(self);
    }
    /// [`encrypted::endpoint`].
    fn call_endpoint(&mut self) -> u32 {
        encrypted::endpoint(self)
    }
    /// [`granted`], as 0 or 1.
    fn call_granted(&mut self, entry: u32) -> u32 {
        granted(self, entry) as u32
    }
    /// [`flow::syn`].
    fn call_syn(&mut self) -> u32 {
        flow::syn(self)
    }
    /// [`flow::payload`].
    fn call_payload(&mut self) -> u32 {
        flow::payload(self)
    }
    /// [`tls::step`] on `facts.hello` and the name of a row of `HELLOS`, until it is not
    /// `progress::GO` or the budget is used up.
    fn call_steps(&mut self, row: u32) -> u32 {
        for _ in 0..STEPS_MAX {
            let outcome = step_facts(self, row);
            if outcome != tls::progress::GO {
                return outcome;
            }
        }
        tls::progress::GO
    }
    /// [`request::parse_claimed`].
    fn call_parse_requests(&mut self) -> u32 {
        request::parse_claimed(self)
    }
    /// [`request::step_facts`], until it is not `progress::GO` or the budget is used up.
    fn call_request_steps(&mut self, row: u32) -> u32 {
        for _ in 0..REQUEST_STEPS_MAX {
            let outcome = request::step_facts(self, row);
            if outcome != http::progress::GO {
                return outcome;
            }
        }
        http::progress::GO
    }
    /// [`request::judge_request`].
    fn call_judge_request(&mut self, row: u32, outcome: u32) -> u32 {
        request::judge_request(self, row, outcome)
    }
    /// [`request::urls`].
    fn call_urls(&mut self, row: u32) {
        request::urls(self, row);
    }
    /// [`request::ended`].
    fn call_ended(&mut self) -> u32 {
        request::ended(self)
    }
    /// [`name_in_row`].
    fn call_name_in_row(&mut self, row: u32) {
        name_in_row(self, row);
    }
    /// [`hash_payload`].
    fn call_hash(&mut self, from: u32, len: u32) -> u32 {
        hash_payload(self, from, len)
    }
}
