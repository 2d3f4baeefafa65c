//! The machine: QEMU under KVM where that boots the kernel, else emulated.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::guest::Guest;
use super::kernel::Kernel;
use crate::shell::{output, say};
use crate::stream::{End, Flow, stream};

/// KVM boots a kernel in two or three seconds, or, on some nested hosts, never.
const KVM_BOOT_LIMIT: Duration = Duration::from_secs(20);
/// Emulation takes 14 s on a machine that has nothing else to do.
const TCG_BOOT_LIMIT: Duration = Duration::from_secs(120);
/// All of it, so that two kernels stay within twelve minutes.
const RUN_LIMIT: Duration = Duration::from_secs(6 * 60);

/// What runs the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accelerator {
    Kvm,
    Tcg,
}

/// Boots the kernel, hands its console to `guest`, and returns when the machine is off.
///
/// # Errors
///
/// When it does not boot, does not end in time, or QEMU fails.
pub(crate) fn boot(kernel: &Kernel, archive: &Path, guest: &mut Guest) -> Result<()> {
    if may_boot_under_kvm(kernel) {
        let end = start(Accelerator::Kvm, kernel, archive, guest)?;
        // Not worth failing a test run: the next one tries again.
        let _ = fs::write(kernel.note("kvm"), verdict(guest.has_booted())?);
        if guest.has_booted() {
            return judge(end);
        }
        say("  KVM does not boot it here; emulating");
    }
    let end = start(Accelerator::Tcg, kernel, archive, guest)?;
    if !guest.has_booted() {
        bail!("{} did not boot", kernel.release);
    }
    judge(end)
}

fn judge(end: End) -> Result<()> {
    match end {
        End::Succeeded => Ok(()),
        End::TimedOut => bail!("the machine did not end within {} s", RUN_LIMIT.as_secs()),
        End::Stopped | End::Failed => bail!("the machine failed"),
    }
}

/// Whether KVM is there and has not failed with this kernel on this host before.
fn may_boot_under_kvm(kernel: &Kernel) -> bool {
    let usable = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    let noted = fs::read_to_string(kernel.note("kvm")).unwrap_or_default();
    usable && verdict(false).is_ok_and(|failed| failed != noted)
}

/// What is remembered of KVM: it may differ with another kernel of the host.
fn verdict(boots: bool) -> Result<String> {
    let host = output(Command::new("uname").arg("-rn"))?;
    Ok(format!(
        "{} on {host}\n",
        if boots { "boots" } else { "does not boot" }
    ))
}

fn start(
    accelerator: Accelerator,
    kernel: &Kernel,
    archive: &Path,
    guest: &mut Guest,
) -> Result<End> {
    let started = Instant::now();
    let boot_limit = match accelerator {
        Accelerator::Kvm => KVM_BOOT_LIMIT,
        Accelerator::Tcg => TCG_BOOT_LIMIT,
    };
    let mut booted = false;
    stream(&mut qemu(accelerator, kernel, archive), RUN_LIMIT, |line| {
        if let Some(line) = line {
            guest.read(line);
        }
        if guest.has_booted() && !booted {
            booted = true;
            say(&format!(
                "  booted in {:.1} s",
                started.elapsed().as_secs_f32()
            ));
        }
        let hangs = !booted && started.elapsed() > boot_limit;
        if hangs { Flow::Stop } else { Flow::Continue }
    })
}

fn qemu(accelerator: Accelerator, kernel: &Kernel, archive: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ]);
    command.args(["-serial", "stdio", "-m", "3G", "-smp", "2"]);
    command.args(match accelerator {
        Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
        Accelerator::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
    });
    command
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(archive);
    // A panic ends the machine by a reboot, which `-no-reboot` turns into its end.
    command.args([
        "-append",
        "console=ttyS0 quiet loglevel=3 panic=-1 oops=panic mitigations=off",
    ]);
    command
}
