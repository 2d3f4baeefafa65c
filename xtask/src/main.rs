//! The project's tasks: `cargo xtask <task>`. A laptop and CI run the same ones.

mod binaries;
mod budget;
mod build;
mod ci;
mod packages;
mod paths;
mod report;
mod setup;
mod shell;
mod stream;
mod subjects;
mod test;
mod tidy;
mod transcript;
mod vm;

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
    /// Run the kernel and namespace tests on Debian's 6.1 and 6.12 kernels in QEMU
    TestVm(vm::Options),
    /// Everything that CI runs: formatting, tidy, clippy, test, test-vm, demo
    Ci,
    /// Check the rules of this repository that rustfmt and clippy do not know
    Tidy,
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
        Task::TestVm(options) => vm::test_vm(&options, install),
        Task::Ci => ci::ci(install),
        Task::Tidy => tidy::tidy(),
        Task::Demo(forwarded) => build::demo(&forwarded.arguments, install),
        Task::Bench(forwarded) => build::bench(&forwarded.arguments, install),
    }
}
