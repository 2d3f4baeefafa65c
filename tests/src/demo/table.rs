//! The table, a row as soon as it is known, in about 110 columns.

use std::time::Duration;

use super::cases::Case;
use crate::lab::client::Ended;

/// What became of a request.
pub(super) struct Row<'a> {
    pub(super) case: &'a Case,
    pub(super) ended: &'a Ended,
    /// Reasons counted meanwhile, such as `pass_hello_name +1`.
    pub(super) counted: String,
    pub(super) right: bool,
    pub(super) took: Duration,
}

/// The heading.
pub(super) fn heading() -> String {
    let titles = line(["client", "asks for", "expected", "seen", "counted", "time"]);
    format!("  {titles}\n  {}", "-".repeat(titles.len()))
}

impl Row<'_> {
    /// The row.
    pub(super) fn text(&self) -> String {
        let seen = match self.ended {
            Ended::Told(answer) => answer,
            ended => ended.word(),
        };
        let seconds = format!("{:.2} s", self.took.as_secs_f64());
        let mark = if self.right { ' ' } else { '!' };
        let (client, name) = (self.case.client(), self.case.asks_for());
        let expected = self.case.expect.label();
        format!(
            "{mark} {}",
            line([&client, &name, expected, seen, &self.counted, &seconds])
        )
    }
}

fn line([client, name, expected, seen, counted, time]: [&str; 6]) -> String {
    format!("{client:<20} {name:<22} {expected:<14} {seen:<14} {counted:<27} {time:>7}")
}
