//! The page that blocked requests are sent to.

use crate::limits::PAGE_LEN_MAX;

/// The one row of `PAGE`: the answer to a request that is blocked or warned of. A number is written in
/// decimal digits with leading zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The text, with zeros behind it.
    pub text: [u8; PAGE_BUF],
    /// Its length in bytes; 0: none.
    pub len: u32,
    /// Place of the letter that says what it is: `b` for blocked, `w` for warned of.
    pub kind_at: u32,
    /// Place of the ten digits of the entry's number.
    pub entry_at: u32,
    /// Place of the five digits of the organisation's number.
    pub org_at: u32,
    /// Place of the three digits of the reason's number.
    pub reason_at: u32,
    /// Zero.
    pub pad: u32,
}

/// Bytes of [`Page::text`].
pub const PAGE_BUF: usize = PAGE_LEN_MAX as usize;
