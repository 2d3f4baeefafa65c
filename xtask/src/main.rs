//! The project's tasks: `cargo xtask <task>`. A laptop and CI run the same ones.

mod binaries;
mod budget;
mod build;
mod packages;
mod paths;
mod report;
mod setup;
mod shell;
mod stream;
mod test;
mod transcript;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows Schoolgate.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Never install anything: where something is missing, say which command installs it, and stop.
    #[arg(long, global = true)]
    no_install: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what the build of the XDP program needs
    Setup,
    /// Build the XDP program and the daemon that carries it
    Build(build::Options),
    /// Run every test of the workspace on this kernel
    Test(test::Options),
    /// Show the filter at work in network namespaces
    #[command(disable_help_flag = true)]
    Demo(Forwarded),
    /// Measure nanoseconds per packet, loading times and memory
    #[command(disable_help_flag = true)]
    Bench(Forwarded),
}

/// Arguments handed on as they are.
#[derive(clap::Args)]
struct Forwarded {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(
        arguments.task,
        packages::Install::from_flag(arguments.no_install),
    ) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, install: packages::Install) -> anyhow::Result<()> {
    match task {
        Task::Setup => setup::toolchain(install).map(|toolchain| toolchain.describe()),
        Task::Build(options) => build::build(&options, install),
        Task::Test(options) => test::test(&options, install),
        Task::Demo(forwarded) => build::demo(&forwarded.arguments, install),
        Task::Bench(forwarded) => build::bench(&forwarded.arguments, install),
    }
}
