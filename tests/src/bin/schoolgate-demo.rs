//! `schoolgate-demo`: the lab with real clients, for the eye. `cargo xtask demo` builds and runs it.

use std::process::ExitCode;

use schoolgate_tests::demo::{Filter, run};

fn main() -> anyhow::Result<ExitCode> {
    let filter = match std::env::args().nth(1).as_deref() {
        None => Filter::Attached,
        Some("--without-filter") => Filter::Absent,
        Some(other) => anyhow::bail!("unknown argument {other}; known: --without-filter"),
    };
    Ok(if run(filter)? == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
