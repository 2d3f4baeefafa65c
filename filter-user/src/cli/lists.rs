//! `schoolgate categories` and `schoolgate reasons`: the words and numbers of statistics.

use filter_common::reason::Reason;
use serde_json::json;

use super::{Context, Exit, Failure};
use crate::categories::Categories;
use crate::config::Config;
use crate::output::{Table, json};

/// Whose categories.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration whose categories are listed (default: the built-in ones)
    #[arg(short, long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

pub(super) fn categories(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let categories = match &args.config {
        Some(file) => Config::load(file)?.categories,
        None => Categories::built_in(),
    };
    let mut table = Table::new(&["number>", "id", "age>", "mandatory", "name", "название"]);
    for category in categories.all() {
        if context.json {
            let row = json!({
                "number": category.number, "id": category.id, "age": category.age,
                "mandatory": category.mandatory, "en": category.en, "ru": category.ru,
            });
            json(context.out, &row)?;
            continue;
        }
        let mandatory = if category.mandatory { "yes" } else { "" };
        table.row(vec![
            category.number.to_string(),
            category.id.clone(),
            format!("{}+", category.age),
            mandatory.to_owned(),
            category.en.clone(),
            category.ru.clone(),
        ]);
    }
    if !context.json {
        table.print(context.out)?;
    }
    Ok(Exit::Fine)
}

pub(super) fn reasons(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut table = Table::new(&["number>", "reason", "verdict", "meaning"]);
    for reason in Reason::ALL {
        let (label, verdict, help) = (
            reason.label(),
            reason.verdict().label(),
            reason.help().trim(),
        );
        if context.json {
            let row = json!({ "number": reason.number(), "reason": label, "verdict": verdict, "help": help });
            json(context.out, &row)?;
            continue;
        }
        table.row(vec![
            reason.number().to_string(),
            label.to_owned(),
            verdict.to_owned(),
            help.to_owned(),
        ]);
    }
    if !context.json {
        table.print(context.out)?;
    }
    Ok(Exit::Fine)
}
