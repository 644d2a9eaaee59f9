//! A JSON Schema as a page: a section for each table of the file, a line for each key.

use serde_json::Value;

/// The page for a schema: title and introduction, then the keys.
pub(super) fn page(title: &str, command: &str, schema: &Value) -> String {
    let about = prose(&schema["description"]);
    let keys = Reference { definitions: &schema["$defs"] }.section("", schema);
    format!(
        "# {title}\n\n{about}\n\nThis page is what `{command}` prints; keys in **bold** are required.\n{keys}"
    )
}

/// The page for a table of a dataset: a line for each column.
pub(super) fn table(name: &str, table: &Value) -> String {
    let mut page = format!(
        "# {name}: every column\n\nThis page is what `prep schema {name} --markdown` prints.\n\n\
         | column | type | unit | what |\n| --- | --- | --- | --- |\n"
    );
    for field in table["fields"].as_array().into_iter().flatten() {
        let [column, kind, unit, doc] = ["field", "type", "unit", "doc"].map(|key| cell(&prose(&field[key])));
        let null = if field["nullable"] == true { ", or null" } else { "" };
        page.push_str(&format!("| `{column}` | {kind}{null} | {unit} | {doc} |\n"));
    }
    page
}

struct Reference<'a> {
    definitions: &'a Value,
}

impl<'a> Reference<'a> {
    /// The keys of a table, then the tables in it, each under its own heading.
    fn section(&self, path: &str, table: &'a Value) -> String {
        let required: Vec<&str> =
            table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let keys = table["properties"].as_object().into_iter().flatten();
        let (tables, values): (Vec<_>, Vec<_>) = keys.partition(|(_, key)| self.inner(key).is_some());
        let mut text = String::new();
        if !values.is_empty() {
            text.push_str("\n| key | type | default | what |\n| --- | --- | --- | --- |\n");
        }
        for (name, key) in values {
            let mark = if required.contains(&name.as_str()) { "**" } else { "" };
            let what = cell(&format!("{} {}", prose(&key["description"]), self.values(key)));
            let (kind, default) = (cell(&self.kind(key)), default(key));
            text.push_str(&format!("| {mark}`{name}`{mark} | {kind} | {default} | {what} |\n"));
        }
        for (name, key) in tables {
            let Some((inner, is_list)) = self.inner(key) else { continue };
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let heading = if is_list { format!("[[{path}]]") } else { format!("[{path}]") };
            let [own, of_kind] = [&key["description"], &inner["description"]].map(prose);
            let about = if own.is_empty() { of_kind } else { own };
            text.push_str(&format!("\n## `{heading}`\n\n{about}\n{}", self.section(&path, inner)));
        }
        text
    }

    /// What a `$ref` leads to; an optional value is what it is when it is there.
    fn resolved(&self, key: &'a Value) -> &'a Value {
        if let Some(name) = key["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return self.resolved(&self.definitions[name]);
        }
        let choices = key["anyOf"].as_array().map_or(&[][..], Vec::as_slice);
        match choices {
            [one, null] if null["type"] == "null" => self.resolved(one),
            _ => key,
        }
    }

    /// The table that a key holds, if it has keys of its own, and whether there may be several.
    fn inner(&self, key: &'a Value) -> Option<(&'a Value, bool)> {
        let value = self.resolved(key);
        let is_list = value["items"].is_object();
        let table = if is_list { self.resolved(&value["items"]) } else { value };
        table["properties"].is_object().then_some((table, is_list))
    }

    fn kind(&self, key: &'a Value) -> String {
        let value = self.resolved(key);
        let types = match &value["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
            one => one.as_str(),
        };
        let least = || value["minimum"].as_u64().filter(|least| *least != 0);
        match types {
            Some("array") => format!("list of {}", self.kind(&value["items"])),
            Some("object") => format!("table of {}", self.kind(&value["additionalProperties"])),
            Some("integer") => {
                least().map_or("integer".to_owned(), |least| format!("integer, at least {least}"))
            }
            Some(kind) => kind.to_owned(),
            // Of a choice its own words say more than the parts.
            None => match value["description"].as_str().filter(|_| value["anyOf"].is_array()) {
                Some(text) => text.to_owned(),
                None => "name".to_owned(),
            },
        }
    }

    /// The names that a key may be, each with what it says of itself.
    fn values(&self, key: &'a Value) -> String {
        let names = self.resolved(key)["oneOf"].as_array().into_iter().flatten();
        let named = names.filter_map(|value| {
            let what = prose(&value["description"]);
            Some(format!("`{}`: {}", value["const"].as_str()?, what.trim_end_matches('.')))
        });
        let named: Vec<String> = named.collect();
        if named.is_empty() { String::new() } else { format!("{}.", named.join("; ")) }
    }
}

fn default(key: &Value) -> String {
    match &key["default"] {
        Value::Null => String::new(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

fn prose(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('<', "&lt;")
}
