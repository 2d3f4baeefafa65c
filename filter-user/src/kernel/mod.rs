//! The way into the kernel. A [`Desired`](crate::desired::Desired) state comes in; maps that hold
//! exactly that come out, by a diff of map operations whose order never opens a hole.
//!
//! [`Filter`] is the whole of it for the daemon. Below it: [`generation`] (a program with its maps,
//! loaded, pinned, taken over), [`apply`] (the diff), [`read`] (counters and fill levels), [`run`]
//! (one frame through the program). [`tables`] holds the arrays that both the kernel's maps and a
//! host twin's memory can back.

pub mod apply;
pub mod buckets;
mod classes;
mod enrolment;
pub mod error;
pub mod filter;
pub mod gauge;
pub mod generation;
pub mod grants;
mod interfaces;
pub mod load;
pub mod memory;
mod migrate;
mod nets;
pub mod pins;
pub mod quic;
pub mod read;
pub mod run;
pub mod sizes;
mod subjects;
mod syscall;
pub mod tables;
pub mod trie;
mod whole;

pub use apply::{Applied, Changes, Grace};
pub use error::KernelError;
pub use filter::{Attachment, Filter, Mode, Options};
pub use gauge::Gauge;
pub use generation::Generation;
pub use grants::Grants;
pub use pins::Pins;
pub use sizes::Sizes;
pub use tables::Tables;

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "the program's claims rely on x86-64's order of stores: see filter-ebpf/src/claim.rs"
);

/// The compiled XDP program; empty where the daemon was built without it.
pub static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schoolgate-xdp"));

/// Secret of an installation, from which all keys and hashes in the maps are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl std::fmt::Debug for Seed {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Seed(secret)")
    }
}
