//! The control socket: connections in, one request a line answered.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, info, warn};

use super::core::Core;
use super::{notify, report};
use crate::cli::Exit;
use crate::control::{REQUEST_BYTES_MAX, Request, Response};
use crate::explain::{Question, explain};
use crate::load::Everything;
use crate::problem::Problem;
use crate::registry::progress::Progress;
use crate::safe_search::Found;
use crate::status::{Reload, TargetStatus};

/// Connections served at once; others wait.
const CONNECTIONS_MAX: usize = 16;

/// The daemon as its connections see it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    core: Arc<Mutex<Core>>,
    /// One reload at a time.
    reloading: Arc<tokio::sync::Mutex<()>>,
    /// One round of fetching at a time.
    pub(super) fetching: Arc<tokio::sync::Mutex<()>>,
    /// Told after each reload.
    pub(super) reloaded: Arc<Notify>,
    connections: Arc<Semaphore>,
    /// Told when policies have changed otherwise than by the clock.
    changed: Arc<Notify>,
}

impl Server {
    pub(super) fn new(core: Core) -> Self {
        Server {
            core: Arc::new(Mutex::new(core)),
            reloading: Arc::new(tokio::sync::Mutex::new(())),
            fetching: Arc::new(tokio::sync::Mutex::new(())),
            reloaded: Arc::new(Notify::new()),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            changed: Arc::new(Notify::new()),
        }
    }

    /// Told when policies have changed otherwise than by the clock.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        // A panic while the lock was held left the state as the last finished assignment made it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel's number of the program in force.
    #[cfg(feature = "diagnostics")]
    pub(super) fn program(&self) -> Option<u32> {
        let core = self.core();
        core.filter.as_ref().map(|filter| filter.facts().id)
    }

    /// Serves connections for ever.
    pub(super) async fn serve(self, listener: UnixListener) {
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = server.connection(stream).await {
                            debug!("control connection: {error}");
                        }
                        drop(permit);
                    });
                }
                Err(error) => debug!("control socket: {error}"),
            }
        }
    }

    async fn connection(&self, stream: UnixStream) -> io::Result<()> {
        let actor = stream.peer_cred().ok().map(|peer| peer.uid());
        let (reader, mut writer) = stream.into_split();
        let mut line = Vec::new();
        BufReader::new(reader.take(REQUEST_BYTES_MAX))
            .read_until(b'\n', &mut line)
            .await?;
        let response = match serde_json::from_slice(&line) {
            Ok(request) => self.answer(request, actor).await,
            Err(error) => Response::failure(
                Exit::Usage,
                vec![format!("request not understood: {error}")],
            ),
        };
        let mut text = serde_json::to_vec(&response)?;
        text.push(b'\n');
        writer.write_all(&text).await
    }

    async fn answer(&self, request: Request, actor: Option<u32>) -> Response {
        let server = self.clone();
        let by = name_of(actor);
        // What was begun is brought to its end, also where nobody waits for it any more.
        let reload = match request {
            Request::Reload { wait: false } => {
                tokio::spawn(async move {
                    server.fetch_new().await;
                    server.reload(&by).await
                });
                return Response::data(&"started");
            }
            Request::Reload { wait: true }
            | Request::Apply {
                confirm_seconds: None,
            } => tokio::spawn(async move {
                server.fetch_new().await;
                server.reload(&by).await
            }),
            Request::Apply {
                confirm_seconds: Some(seconds),
            } => tokio::spawn(async move {
                server.fetch_new().await;
                server.try_out(&by, seconds).await
            }),
            Request::Undo => tokio::spawn(async move { server.undo(&by).await }),
            Request::Accept { id } => tokio::spawn(async move { server.accept(&by, &id).await }),
            Request::RollBack { id } => {
                tokio::spawn(async move { server.roll_back(&by, &id).await })
            }
            Request::Fetch { id } => {
                return match self.fetch_asked(id.as_deref(), &by).await {
                    Ok(fetched) => Response::data(&fetched),
                    Err(problem) => Response::failure(Exit::Problem, vec![problem]),
                };
            }
            request => return self.ask(request, actor).await,
        };
        reload
            .await
            .map_or_else(|_| lost(), |reload| of_reload(&reload))
    }

    async fn ask(&self, request: Request, actor: Option<u32>) -> Response {
        let server = self.clone();
        tokio::task::spawn_blocking(move || server.look_up(&request, actor))
            .await
            .unwrap_or_else(|_| lost())
    }

    fn look_up(&self, request: &Request, actor: Option<u32>) -> Response {
        match request {
            Request::Status => match report::status(&self.core()) {
                Ok(status) => Response::data(&status),
                Err(error) => Response::failure(Exit::Problem, vec![error.to_string()]),
            },
            Request::Stats { org } => self.stats(org.as_deref()),
            Request::Explain(question) => self.explain(question),
            Request::Bypass {
                org,
                seconds,
                reason,
            } => self.core().bypass(org, *seconds, reason, actor),
            Request::Diff { examples, accept } => self.diff(*examples, accept.as_deref()),
            Request::Confirm => self.confirm(&name_of(actor)),
            Request::Reload { .. }
            | Request::Apply { .. }
            | Request::Undo
            | Request::Accept { .. }
            | Request::RollBack { .. }
            | Request::Fetch { .. } => lost(),
        }
    }

    fn stats(&self, org: Option<&str>) -> Response {
        let core = self.core();
        let (Some(filter), Some(everything)) = (&core.filter, &core.everything) else {
            return not_ours();
        };
        if let Some(id) = org.filter(|id| everything.config.organisation(id).is_none()) {
            return Response::failure(
                Exit::Problem,
                vec![format!("organisation {id} is not enrolled")],
            );
        }
        match report::stats(filter, &everything.config, org) {
            Ok(stats) => Response::data(&stats),
            Err(error) => Response::failure(Exit::Problem, vec![error.to_string()]),
        }
    }

    fn explain(&self, question: &Question) -> Response {
        let everything = self.core().everything.clone();
        let Some(everything) = everything else {
            return not_ours();
        };
        match explain(&everything.book(), everything.seed, question) {
            Ok(explanation) => Response::data(&explanation),
            Err(message) => Response::failure(Exit::Problem, vec![message]),
        }
    }

    /// Reads everything again and applies the difference.
    pub(super) async fn reload(&self, actor: &str) -> Reload {
        let by = actor.to_owned();
        let work = move |core: &mut Core, read| (core.apply(read, &by), ());
        self.bring(actor, None, work).await.0
    }

    /// Reads everything again for `actor`, and hands it to `work`, which brings it into force. `accepted`: a registry
    /// that may be of any size.
    pub(super) async fn bring<T: Default + Send + 'static>(
        &self,
        actor: &str,
        accepted: Option<&str>,
        work: impl FnOnce(&mut Core, Result<Everything, Vec<Problem>>) -> (Reload, T) + Send + 'static,
    ) -> (Reload, T) {
        let _one_at_a_time = self.reloading.lock().await;
        if let Some(refused) = self.core().back.refuses(actor) {
            warn!("not reloaded: {refused}");
            return (Reload::refused(refused), T::default());
        }
        notify::notify("RELOADING=1");
        let server = self.clone();
        let accepted = accepted.map(str::to_owned);
        let all = move || {
            info!("reading {}", server.core().file.display());
            let mut reading = server.core().reading();
            if let Some(id) = &accepted {
                reading.accept(id);
            }
            let read = reading.read(Progress::Quiet);
            drop(reading);
            let done = work(&mut server.core(), read);
            server.changed.notify_one();
            super::give_back_memory();
            done
        };
        let done = tokio::task::spawn_blocking(all).await.unwrap_or_default();
        notify::notify(if done.0.ok {
            "READY=1\nSTATUS=in force"
        } else {
            "READY=1\nSTATUS=last reload failed"
        });
        self.reloaded.notify_one();
        done
    }

    /// Changes what is in force, while nothing else does.
    pub(super) async fn alone<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> T {
        let _one_at_a_time = self.reloading.lock().await;
        let server = self.clone();
        let all = move || {
            let done = work(&mut server.core());
            server.changed.notify_one();
            done
        };
        // A panic in there has been printed.
        let done = tokio::task::spawn_blocking(all).await.unwrap_or_default();
        self.reloaded.notify_one();
        done
    }

    /// The configuration in force.
    pub(super) fn everything(&self) -> Option<Arc<Everything>> {
        self.core().everything.clone()
    }

    /// The daemon ends: a row of the journal.
    pub(super) fn stopped(&self) {
        // What could not be written has been told.
        let _ = self.core().record("daemon", "stop", serde_json::json!({}));
    }

    /// Compares the maps with what they shall hold.
    pub(super) async fn gauge(&self) {
        let _not_while_reloading = self.reloading.lock().await;
        let server = self.clone();
        // A panic in there has been printed; the next round compares again.
        let _ = tokio::task::spawn_blocking(move || server.core().gauge()).await;
    }

    /// Leads search engines to where their targets were found.
    pub(super) async fn lead(&self, found: Found, targets: Vec<TargetStatus>) {
        let _not_while_reloading = self.reloading.lock().await;
        let server = self.clone();
        let work = move || {
            let mut core = server.core();
            core.targets = targets;
            if let Err(problem) = core.lead(found) {
                warn!("safe search: {problem}");
            }
        };
        // A panic in there has been printed; the next round tries again.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

/// Who asks, as the journal has it.
fn name_of(actor: Option<u32>) -> String {
    actor.map_or("uid unknown".to_owned(), |uid| format!("uid {uid}"))
}

fn of_reload(reload: &Reload) -> Response {
    let data = serde_json::to_value(reload).unwrap_or_default();
    Response {
        exit: reload.exit,
        problems: reload.problems.clone(),
        data,
    }
}

pub(super) fn not_ours() -> Response {
    let problem = "the state of an earlier daemon is in force, as the registries could not be read: `schoolgate status` says why";
    Response::failure(Exit::Problem, vec![problem.to_owned()])
}

fn lost() -> Response {
    Response::failure(
        Exit::Problem,
        vec!["the request was lost: see the daemon's log".to_owned()],
    )
}

/// Makes the socket in place of one that a dead daemon left; the caller holds the lock.
pub(super) fn listen(path: &Path, group: bool) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let mode = if group { 0o660 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
