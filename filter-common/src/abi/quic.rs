//! QUIC: verdicts on flows, and what is handed to the daemon to be read.

use crate::limits::{QUIC_FRAME_MAX, WAYS};

/// A row of `QUIC_FLOWS`: see `quic_flow`. The daemon makes rows, the program moves their end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicSet {
    /// Flows, way by way; a key of 0 is free.
    pub ways: [QuicFlow; WAYS],
}

/// The verdict on a QUIC flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicFlow {
    /// `quic_flow::quic_key`.
    pub key: u64,
    /// `quic_flow::state_word`.
    pub state: u64,
    /// Number of the deciding entry; 0: none.
    pub entry: u64,
    /// Zero.
    pub pad: u64,
}

/// The one row of `QUIC_WATCH`: written by the daemon for as long as it reads copies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicWatch {
    /// Monotonic clock in nanoseconds up to which it promises to read; 0: nobody reads.
    pub until_ns: u64,
    /// Copies of one organisation's Initial packets in a second that are handed over.
    pub limit: u32,
    /// Zero.
    pub pad: u32,
}

/// A record of `QUIC_COPIES`: an Initial packet and what the program knows of it. It lives until the
/// daemon has read the name.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicCopy {
    /// `quic_flow::quic_key` of its flow.
    pub key: u64,
    /// Monotonic clock in nanoseconds when it was handed over.
    pub at_ns: u64,
    /// Organisation number.
    pub org: u32,
    /// Number of the interface it came from.
    pub ifindex: u32,
    /// `Interface::mpls_reply` of that interface: how answers leave behind MPLS.
    pub mpls_reply: u32,
    /// IP version, 4 or 6.
    pub version: u32,
    /// Destination address, network byte order read as big-endian words; IPv4 in the last.
    pub destination: [u32; 4],
    /// Source address likewise.
    pub source: [u32; 4],
    /// Offset of the network header.
    pub l3: u32,
    /// Offset of the PPPoE header; 0: none.
    pub pppoe_at: u32,
    /// Offset of the MPLS label stack; 0: none.
    pub mpls_at: u32,
    /// Offset of the QUIC packet.
    pub payload: u32,
    /// Its length.
    pub payload_len: u32,
    /// Length of the frame.
    pub frame_len: u32,
    /// Row of `POLICIES`.
    pub policy: u32,
    /// 1 while the organisation's bypass is in force.
    pub bypass: u32,
    /// The deciding entry of the destination's address.
    pub best: crate::rule::Best,
    /// The frame.
    pub frame: [u8; QUIC_FRAME_MAX],
}

/// Offset of [`QuicCopy::frame`].
pub const QUIC_COPY_HEAD: usize = 136;
