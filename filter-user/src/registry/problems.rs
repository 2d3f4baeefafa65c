//! All that is wrong with registries, read again: what a load keeps of it is the first lines of a file only.

use super::load::with_deltas;
use super::progress::Progress;
use super::trusted::read_trusted;
use super::{Listener, Source, specs};
use crate::bypass::Moment;
use crate::compile::{Input, compile};
use crate::config::Config;
use crate::load::holds;
use crate::numbers::Numbers;
use crate::problem::Problem;

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line, rule or record that is not applied.
    Rejected,
    /// Something else that is left out.
    Note,
    /// A file that cannot be read, or a list that cannot be followed: the registry does not load.
    Broken,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Kind::Rejected => "rejected",
            Kind::Note => "note",
            Kind::Broken => "broken",
        }
    }
}

/// Takes each problem with the registry's id; what cannot be laid to one registry has none.
pub type Tell<'t> = &'t mut dyn FnMut(&str, Kind, Problem);

/// Tells all problems of the registries of a configuration, file by file.
pub fn each(config: &Config, tell: Tell<'_>) {
    // Nobody looks for the keys: any seed will do.
    let seed = 1;
    let (specs, notes) = match specs(config, seed) {
        Ok(found) => found,
        Err(problems) => {
            for problem in problems {
                tell("", Kind::Broken, problem);
            }
            return;
        }
    };
    for note in notes {
        tell("", Kind::Note, note);
    }
    let mut sources: Vec<Source> = Vec::new();
    for spec in specs {
        let id = spec.name.clone();
        let registry = config.registries.get(spec.registry);
        let deltas = registry.and_then(|registry| registry.deltas.as_deref());
        let mut notes = Vec::new();
        let mut read = |spec| {
            let mut sink = |problem| tell(&id, Kind::Rejected, problem);
            let listener = Listener {
                rejected: Some(&mut sink),
                ..Listener::default()
            };
            read_trusted(spec, Progress::of_stderr(), listener)
        };
        match with_deltas(spec, deltas, |_| None, &mut read, &mut notes) {
            Ok(read) => sources.extend(read),
            Err(problem) => tell(&id, Kind::Broken, problem),
        }
        for note in notes {
            tell(&id, Kind::Note, note);
        }
    }
    let numbers = Numbers::default().assign(config);
    let compiled = compile(&Input {
        config,
        sources: &sources,
        numbers: &numbers,
        interfaces: &[],
        seed,
        moment: &Moment::default(),
        before: None,
    });
    match compiled {
        Ok(compiled) => {
            for rejected in &compiled.rejected {
                tell("", Kind::Rejected, holds(rejected));
            }
        }
        Err(problem) => tell("", Kind::Broken, problem),
    }
}
