//! Two JSON values side by side, key by key.

use serde::Serialize;
use serde_json::{Map, Value};

/// A key whose values differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// From the outermost key to the innermost, with dots between; an item of a list goes by its name.
    pub key: String,
    /// Nothing where only the other one has the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<Value>,
}

/// What differs, in the order of the keys of `a`, then those that only `b` has. What one lacks altogether is one change,
/// and so is a list.
pub(super) fn changes(a: &Value, b: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    collect(String::new(), Some(a), Some(b), &mut changes);
    changes
}

fn collect(key: String, a: Option<&Value>, b: Option<&Value>, changes: &mut Vec<Change>) {
    if a == b {
        return;
    }
    if let (Some(of_a), Some(of_b)) = (a.and_then(keyed), b.and_then(keyed)) {
        let only_b = of_b.keys().filter(|name| !of_a.contains_key(*name));
        for name in of_a.keys().chain(only_b) {
            let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            collect(inner, of_a.get(name), of_b.get(name), changes);
        }
        return;
    }
    changes.push(Change { key, a: a.cloned(), b: b.cloned() });
}

/// An object, or a list whose items have names that are all different, by these.
fn keyed(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object.clone()),
        Value::Array(items) => {
            let mut map = Map::new();
            for item in items {
                let name = item.get("name")?.as_str()?;
                let mut rest = item.as_object()?.clone();
                rest.remove("name");
                if map.insert(name.to_owned(), Value::Object(rest)).is_some() {
                    return None;
                }
            }
            Some(map)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_go_by_their_names_and_lists_are_one_value() {
        let a =
            json!({"seed": 1, "corpora": [{"name": "x", "languages": ["de"]}, {"name": "y"}], "same": [1]});
        let b = json!({"seed": 2, "corpora": [{"name": "x", "languages": ["de", "en"]}], "same": [1], "new": {"k": 1}});
        let found: Vec<String> = changes(&a, &b)
            .iter()
            .map(|c| {
                let show = |v: &Option<Value>| v.as_ref().map_or("-".to_owned(), ToString::to_string);
                format!("{} {} {}", c.key, show(&c.a), show(&c.b))
            })
            .collect();
        // serde_json keeps the keys of an object in byte order.
        let expected =
            ["corpora.x.languages [\"de\"] [\"de\",\"en\"]", "corpora.y {} -", "seed 1 2", "new - {\"k\":1}"];
        assert_eq!(found, expected);
        assert_eq!(changes(&a, &a), []);
    }
}
