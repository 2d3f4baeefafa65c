//! What the kernel program and the daemon share: packet parsers, subject keys, the precedence of
//! verdicts, the numbered reasons, and every type that crosses into a map.
//!
//! No input or output, no clock, no map calls and no `unsafe` (but the one `Pod` file of the
//! host's side): what is here runs alike in the kernel, in the daemon and in a unit test.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code, missing_docs)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "hashes, header fields and state words are cut to their lanes on purpose; the kernel has no panic to fall back on"
)]

pub mod abi;
pub mod bytes;
pub mod dns;
pub mod dns_stream;
pub mod encrypted;
pub mod flow;
pub mod grant;
pub mod http;
mod http_body;
mod http_glide;
pub mod identify;
pub mod inward;
mod judge;
pub mod limits;
pub mod lookup;
pub mod name;
pub mod org;
pub mod packet;
pub mod pipeline;
#[cfg(feature = "user")]
mod pod;
pub mod quic;
pub mod quic_flow;
pub mod reason;
pub mod request;
mod resend;
pub mod rule;
pub mod segment;
pub mod table;
pub mod tls;
pub mod url;
pub mod verdict;
pub mod walk;
pub mod world;
