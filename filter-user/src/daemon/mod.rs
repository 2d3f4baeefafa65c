//! The daemon: it brings configuration and registries into the maps, answers on its control socket
//! and reloads. Filtering does not depend on it: it may end or be killed at any time.

mod apply;
mod core;
#[cfg(feature = "diagnostics")]
mod diagnostics;
mod fetch;
pub(crate) mod gate;
mod gauge;
pub(crate) mod lock;
mod notify;
mod quic;
mod report;
mod server;
mod targets;
mod tick;

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cli::{Exit, Failure};
use crate::config::{self, Config, Daemon};
use crate::portal::{self, Portal};
use crate::registry::progress::Progress;
use crate::state::StateDir;

pub(crate) use self::apply::CONFIRM_SECONDS_MAX;
use self::core::Core;
use self::lock::Lock;
use self::server::Server;

/// Runs until SIGTERM or SIGINT. Links and maps stay pinned: filtering goes on.
///
/// # Errors
/// Nothing could be brought into force and nothing was in force.
pub fn run(file: &Path) -> Result<Exit, Failure> {
    let config = Config::load(file)?;
    let settings = config.daemon.clone();
    let Some(_lock) = take_lock(&settings)? else {
        let message = format!("another daemon runs in {}", settings.runtime_dir.display());
        return Err(Failure::new(Exit::Problem, message));
    };
    let failed =
        |problem: crate::problem::Problem| Failure::new(Exit::Permission, problem.to_string());
    let state_dir = StateDir::open(&settings.state_dir).map_err(failed)?;
    let mut core = Core::new(file, &settings.runtime_dir, state_dir).map_err(failed)?;
    // What failed has been told, and is told again by the load.
    let _ = fetch::first(&config, &core.kept());
    let portal = config.portal;
    start(&mut core)?;
    give_back_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(core, &settings, portal))
}

/// Gives memory that is free back to the system: a reload holds two states for a while.
fn give_back_memory() {
    // SAFETY: `malloc_trim` (glibc, malloc_trim(3)) may be called at any time, by any thread.
    unsafe { libc::malloc_trim(0) };
}

fn take_lock(settings: &Daemon) -> Result<Option<Lock>, Failure> {
    Lock::take(&settings.runtime_dir).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::PermissionDenied {
            Exit::Permission
        } else {
            Exit::Problem
        };
        Failure::new(
            exit,
            format!(
                "{}: {error}: run as root, or set [daemon] runtime_dir",
                settings.runtime_dir.display()
            ),
        )
    })
}

/// The first load. Where it fails, what an earlier daemon pinned stays in force, and a reload can
/// mend it; with nothing pinned there is nothing to run for.
fn start(core: &mut Core) -> Result<(), Failure> {
    let read = core.reading().read(Progress::of_stderr());
    let reload = core.apply(read, "daemon");
    if reload.ok {
        return Ok(());
    }
    let pinned = gate::pinned(&core.runtime_dir);
    if pinned.is_empty() && core.apply_any_size() {
        return Ok(());
    }
    if pinned.is_empty() {
        return Err(Failure {
            exit: Exit::from_code(reload.exit),
            problems: reload.problems,
        });
    }
    warn!(
        "what an earlier daemon left stays in force on {}: correct the files and reload",
        pinned.join(", ")
    );
    Ok(())
}

async fn serve(
    core: Core,
    settings: &Daemon,
    portal: Option<config::Portal>,
) -> Result<Exit, Failure> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = server::listen(&settings.socket, settings.socket_group).map_err(|error| {
        let message = format!(
            "{}: {error}: set [daemon] socket",
            settings.socket.display()
        );
        Failure::new(Exit::Problem, message)
    })?;
    if let Some(portal) = portal {
        portal::http::spawn(Portal::new(portal, core.portal.clone())?);
    }
    let quic = core.quic.clone();
    let server = Server::new(core);
    tokio::spawn(server.clone().serve(listener));
    tokio::spawn(targets::follow(server.clone()));
    tokio::spawn(gauge::follow(server.clone()));
    tokio::spawn(fetch::follow(server.clone()));
    tokio::spawn(tick::follow(server.clone(), server.changed()));
    #[cfg(feature = "diagnostics")]
    diagnostics::follow(server.clone())?;
    notify::notify("READY=1");
    info!("READY, control socket {}", settings.socket.display());
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                server.fetch_new().await;
                server.reload("signal").await;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify::notify("STOPPING=1");
    quic.stop();
    server.stopped();
    info!("ends; filtering goes on by the pinned links (`schoolgate detach` ends it)");
    Ok(Exit::Fine)
}
