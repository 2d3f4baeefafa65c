//! The register of socially significant sites (`registerSocResources`): what schools may reach at all
//! times. Its records have a name, domains and prefixes, and no blockType; the registry's `semantics`
//! says what a bare domain means.

use super::dump::apply::Applied;

/// All that a record lists.
pub(super) const APPLIED: Applied = Applied {
    urls: false,
    domains: true,
    below: false,
    addresses: true,
    nets: true,
};
