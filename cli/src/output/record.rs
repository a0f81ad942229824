//! One object as lines `field: value`, nested ones indented: what every `show` prints as a table. Made from the same JSON that `-o json` prints, so
//! that no field can be forgotten.

use serde_json::Value;

use super::table::printable;
use super::time::utc;

#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) => items.iter().for_each(|item| out.push_str(&text(item))),
        Value::Object(_) => lines(value, 0, &mut out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&scalar("", value));
            out.push('\n');
        }
    }
    out
}

fn lines(value: &Value, depth: usize, out: &mut String) {
    let Value::Object(fields) = value else { return };
    let indent = "  ".repeat(depth);
    // The name first, then by the alphabet.
    let (first, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(key, _)| *key == "id");
    for (key, value) in first.into_iter().chain(rest) {
        let name = printable(key);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push_str(&format!("{indent}{name}:\n"));
                lines(value, depth + 1, out);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                out.push_str(&format!("{indent}{name}:\n"));
                for item in items {
                    let mut inner = String::new();
                    lines(item, depth + 2, &mut inner);
                    // A dash where the indent of the item's first field would be.
                    let (dash, blank) = (format!("{indent}  - "), "  ".repeat(depth + 2));
                    out.push_str(&inner.replacen(&blank, &dash, 1));
                }
            }
            Value::Array(items) => {
                let words: Vec<String> = items.iter().map(|item| scalar("", item)).collect();
                out.push_str(&format!("{indent}{name}: {}\n", if words.is_empty() { "-".to_owned() } else { words.join(" ") }));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                out.push_str(&format!("{indent}{name}: {}\n", scalar(key, value)));
            }
        }
    }
}

fn scalar(key: &str, value: &Value) -> String {
    match value {
        Value::Number(ms) if key == "time" || key.ends_with("_time") || key == "since" => ms.as_u64().map_or_else(|| ms.to_string(), utc),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        Value::Object(_) => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_objects_are_indented_and_lists_dashed() {
        let value = serde_json::json!({
            "id": "c", "command": ["a", "b"], "empty": [], "none": null, "time": 1,
            "spec": { "image": "", "ports": [{ "host_port": 1, "address": "x" }, { "host_port": 2 }] },
        });
        let lines = text(&value);
        for want in ["id: c\n", "command: a b\n", "empty: -\n", "none: -\n", "time: 1970-01-01T00:00:00.001Z\n", "spec:\n", "  image: -\n"]
        {
            assert!(lines.contains(want), "{want:?} is missing in\n{lines}");
        }
        assert!(lines.starts_with("id: c\n"), "{lines}");
        assert!(lines.contains("  ports:\n    - address: x\n      host_port: 1\n    - host_port: 2\n"), "{lines}");
    }
}
