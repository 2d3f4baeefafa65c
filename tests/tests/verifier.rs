//! Loads every program of the object and tells how much work the verifier had: the test runner
//! compares the numbers with the budget of this kernel.

use filter_user::desired::{Desired, FlowSizes};
use filter_user::kernel::load::{MapSource, PROGRAM, load};
use filter_user::kernel::{OBJECT, Sizes};
use schoolgate_tests::lab::root_or_skip;

#[test]
fn every_program_loads() {
    if !root_or_skip("every_program_loads") {
        return;
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let sizes = Sizes::measure(&Desired::default(), FlowSizes::default());
    for name in [PROGRAM, "floor"] {
        let (program, _maps) = load(OBJECT, name, MapSource::New(&sizes)).unwrap();
        let facts = program.facts();
        assert!(facts.instructions > 0 && facts.tag != 0);
        println!(
            "VERIFIED {} {name} {}",
            kernel.trim(),
            facts.verified_instructions
        );
    }
}
