//! A registry that is fetched from a server of ours, without a daemon.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use filter_user::config::{Config, Registry};
use filter_user::problem::Problem;
use filter_user::registry::load::KeptBefore;
use filter_user::sources::{State, Store, Updated, status, update};

use crate::lab::TempDir;
use crate::lists_server::{Answer, Asked, ListsServer};

/// Id of the registry.
pub const ID: &str = "law";

/// A registry of a server's, with a directory for its copies.
pub struct Site {
    /// Where all of it lies.
    pub place: TempDir,
    /// The server.
    pub server: ListsServer,
    /// What the server gives.
    pub next: Arc<Mutex<Answer>>,
    /// The format and what belongs to it, as keys of the configuration.
    pub format: String,
    /// More keys of the registry.
    pub keys: String,
}

/// The server says what is put next, and 304 to who has it already.
pub fn handler(next: &Arc<Mutex<Answer>>) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let next = Arc::clone(next);
    move |asked| {
        let next = next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tag = next.fields.iter().find(|(name, _)| name == "ETag");
        match (tag, asked.field("if-none-match")) {
            (Some((_, tag)), Some(known)) if tag == known => Answer::status("304 Not Modified"),
            _ => next,
        }
    }
}

impl Site {
    /// A server that gives a list of one name.
    ///
    /// # Errors
    /// There is no port or no directory for it.
    pub fn new() -> anyhow::Result<Site> {
        let next = Arc::new(Mutex::new(Answer::file("one.example\n", "\"1\"")));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        Ok(Site {
            place: TempDir::new()?,
            server: ListsServer::start(listener, None, handler(&next))?,
            next,
            format: "format = \"mixed\"\nsemantics = \"exact\"".to_owned(),
            keys: String::new(),
        })
    }

    /// What the server gives from now on.
    pub fn gives(&self, answer: Answer) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// A configuration with the registry at this address.
    #[must_use]
    pub fn text(&self, url: &str) -> String {
        format!(
            "[daemon]\nstate_dir = \"state\"\n[[registries]]\nid = \"{ID}\"\ntier = \"unified\"\n\
             {}\nurl = \"{url}\"\n{}\n",
            self.format, self.keys
        )
    }

    /// The configuration with the registry at this address.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn config_of(&self, url: &str) -> Result<Config, Vec<Problem>> {
        Config::from_text(&self.place.path().join("s.toml"), &self.text(url))
    }

    /// The configuration with the registry at the server.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn config(&self) -> anyhow::Result<Config> {
        let config = self.config_of(&format!("http://{}/law.txt", self.server.address));
        config.map_err(|problems| anyhow::anyhow!("{problems:?}"))
    }

    /// The registry, as it is read now.
    ///
    /// # Errors
    /// Why the configuration is refused.
    pub fn registry(&self) -> anyhow::Result<Registry> {
        let mut registries = self.config()?.registries;
        registries.pop().context("there is no registry")
    }

    /// Fetches, where `kept` entries were in force.
    ///
    /// # Errors
    /// Why the configuration is refused.
    pub fn fetch_after(&self, kept: u64) -> anyhow::Result<Updated> {
        let kept = KeptBefore::from([(ID.to_owned(), kept)]);
        fetch(&self.config()?, &kept)
    }

    /// Fetches.
    ///
    /// # Errors
    /// Why the configuration is refused.
    pub fn fetch(&self) -> anyhow::Result<Updated> {
        fetch(&self.config()?, &KeptBefore::new())
    }

    /// How the source stands.
    ///
    /// # Errors
    /// Why the configuration is refused.
    pub fn state(&self) -> anyhow::Result<State> {
        let status = status(&self.registry()?, 0, SystemTime::now());
        Ok(status.context("it has a url")?.state)
    }

    /// The copies.
    #[must_use]
    pub fn store(&self) -> Store {
        let directory: PathBuf = ["state", "sources", ID].iter().collect();
        Store::new(&self.place.path().join(directory))
    }

    /// What is read, as a text; empty: nothing.
    ///
    /// # Errors
    /// Why the configuration is refused.
    pub fn in_force(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.registry()?.path).unwrap_or_default())
    }
}

/// Fetches the first registry of a configuration.
///
/// # Errors
/// It has none with a url.
pub fn fetch(config: &Config, kept: &KeptBefore) -> anyhow::Result<Updated> {
    let registry = config.registries.first().context("there is no registry")?;
    update(config, registry, kept).context("the registry has no url")
}
