use clap::Args;
use prep::pipeline::Pipeline;
use prep::plan::Plan;
use prep::schema::Table;
use prep::shards::Manifest;
use prep::train::Settings;
use serde_json::Value;

use super::output::{self, Outcome};
use super::reference;

/// Print the schema of a table, of plan.json, of manifest.json, of a pipeline file, or of the trainer's settings
///
/// Tables are described field by field; the others are JSON Schema. Without a name: all of them, in one object.
#[derive(Args)]
pub(super) struct Schema {
    /// One of them
    #[arg(value_parser = names())]
    name: Option<String>,
    /// Print a page of Markdown: each key with its type, its default and what it is
    #[arg(long, requires = "name", conflicts_with = "json")]
    markdown: bool,
    /// Print the result as JSON (schemas are JSON in any case)
    #[arg(long)]
    json: bool,
}

fn names() -> Vec<&'static str> {
    Table::ALL.iter().map(|table| table.name()).chain(["pipeline", "plan", "manifest", "train"]).collect()
}

impl Schema {
    pub(super) fn run(self) -> Outcome {
        let Self { name, markdown, json: _ } = self;
        Outcome::done(match name {
            Some(name) if markdown => markdown_page(&name),
            Some(name) => output::json(&schema(&name)),
            None => {
                let all = names().into_iter().map(|name| (name.to_owned(), schema(name)));
                output::json(&Value::Object(all.collect()))
            }
        })
    }
}

fn markdown_page(name: &str) -> String {
    let title = match name {
        "pipeline" => "Pipelines: every key",
        "train" => "Settings of the trainer: every key",
        "plan" => "plan.json: every key",
        "manifest" => "manifest.json: every key",
        table => return reference::table(table, &schema(table)),
    };
    reference::page(title, &format!("prep schema {name} --markdown"), &schema(name))
}

fn schema(name: &str) -> Value {
    match name {
        "pipeline" => schemars::schema_for!(Pipeline).to_value(),
        "plan" => schemars::schema_for!(Plan).to_value(),
        "manifest" => schemars::schema_for!(Manifest).to_value(),
        "train" => schemars::schema_for!(Settings).to_value(),
        table => Table::ALL
            .into_iter()
            .find(|known| known.name() == table)
            .expect("clap admits the names of tables only")
            .to_json(),
    }
}
