//! The verifier's work on each program of the object, for the budget file.

use filter_user::desired::{Desired, FlowSizes};
use filter_user::kernel::load::{MapSource, load};
use filter_user::kernel::{OBJECT, Sizes};
use schoolgate_tests::gate::diagnostics_object;
use schoolgate_tests::lab::skip;

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[test]
fn programs_load_within_the_budget_of_the_verifier() {
    // SAFETY: asks for the user's number; no arguments, no memory.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIP: programs_load_within_the_budget_of_the_verifier: needs root");
        return;
    }
    let sizes = Sizes::measure(&Desired::default(), FlowSizes::default());
    for name in ["schoolgate", "floor"] {
        let (program, _maps) = load(OBJECT, name, MapSource::New(&sizes)).unwrap();
        let verified = program.facts().verified_instructions;
        println!("VERIFIED {} {name} {verified}", kernel_release());
        // Kernels from 5.16 on tell.
        assert!(verified > 0 && verified < 1_000_000, "{name}: {verified}");
    }
    let Some(object) = diagnostics_object() else {
        return skip(
            "verifier",
            "no program with diagnostics: run `cargo xtask build --diagnostics`",
        );
    };
    let (program, _maps) = load(&object, "schoolgate", MapSource::New(&sizes)).unwrap();
    let verified = program.facts().verified_instructions;
    println!("VERIFIED {} diagnostics {verified}", kernel_release());
}
