//! The `schoolgate` binary.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    filter_user::cli::run(filter_user::cli::Cli::parse())
}
