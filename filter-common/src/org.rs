//! Whose address: the arithmetic of the enrolment index (DIR-16-16 for IPv4).
//!
//! `ORG4_INDEX` holds, for each realm, 65,536 page numbers of 16 bits, four in a word; `ORG4_PAGES`
//! holds pages of 65,536 organisation numbers of 16 bits, four in a word. Page 0 is unused: a page
//! number 0 means that no address of the /16 is enrolled.

/// Words of one realm's index, and of one page.
pub const PAGE_WORDS: u32 = 65_536 / 4;

/// Organisation number that says: look in `ORG6_SPLIT`.
pub const ORG6_SPLIT_MARK: u32 = 0xffff;

/// Word of `ORG4_INDEX` that holds the page number of `address` in `realm`.
#[inline(always)]
#[must_use]
pub fn index_word(realm: u32, address: u32) -> u32 {
    realm.wrapping_mul(PAGE_WORDS).wrapping_add(address >> 18)
}

/// The page number in that word.
#[inline(always)]
#[must_use]
pub fn index_lane(word: u64, address: u32) -> u32 {
    (word >> ((address >> 16 & 3) * 16)) as u32 & 0xffff
}

/// Word of `ORG4_PAGES` that holds the organisation number of `address` in `page`.
#[inline(always)]
#[must_use]
pub fn page_word(page: u32, address: u32) -> u32 {
    page.wrapping_mul(PAGE_WORDS)
        .wrapping_add((address & 0xffff) >> 2)
}

/// The organisation number in that word.
#[inline(always)]
#[must_use]
pub fn page_lane(word: u64, address: u32) -> u32 {
    (word >> ((address & 3) * 16)) as u32 & 0xffff
}
