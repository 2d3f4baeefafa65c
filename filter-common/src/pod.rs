//! `aya::Pod` for the types of `abi`: plain integers without padding, any bit pattern valid.
#![expect(
    unsafe_code,
    reason = "aya::Pod is an unsafe trait; nothing else here is unsafe"
)]

use crate::abi::{
    Addresses, Bucket, BucketEntries, CategoryCounters, Class, Control, FlowSet, GrantSet,
    HelloSlot, Interface, NetEntry, Org, Org6SplitKey, OrgCounters, OrgRate, Outcome, Page, Policy,
    QuicSet, QuicWatch, Scratch,
};

macro_rules! pod {
    ($($name:ident),+) => {
        $(
            // SAFETY: `repr(C)`, integers and arrays of integers only, no implicit padding (sizes
            // are asserted in `abi`), so that every bit pattern is a value.
            unsafe impl aya::Pod for $name {}
        )+
    };
}

pod!(
    Bucket,
    BucketEntries,
    CategoryCounters,
    Class,
    Control,
    FlowSet,
    GrantSet,
    HelloSlot,
    Interface,
    NetEntry,
    Org,
    Org6SplitKey,
    OrgCounters,
    OrgRate,
    Outcome,
    Page,
    Policy,
    Addresses,
    QuicSet,
    QuicWatch,
    Scratch
);
