//! Values on the command line: `key=text`, `key:=json`, and `--values` for many at once.

use std::io::Read;
use std::{fs, io};

use plg_host::{Context, json};
use serde_json::Value;

use crate::problem::Problem;

const EXAMPLE: &str = "for instance `name=Ada count:=3 'tags:=[\"a\"]'`";

/// Fills a context: first from `--values`, then from the pairs, so that a pair can replace one of many.
pub(crate) fn context(many: Option<&str>, pairs: &[String]) -> Result<Context, Problem> {
    let mut context = Context::new();
    if let Some(many) = many {
        for (key, value) in object(many)? {
            context.set(checked(&key, "--values")?, json::to_value(value));
        }
    }
    for text in pairs {
        let (key, value) = pair(text)?;
        context.set(checked(key, text)?, json::to_value(value));
    }
    Ok(context)
}

/// A key without a value is most likely a label or a path in the wrong place.
fn pair(text: &str) -> Result<(&str, Value), Problem> {
    let Some((key, value)) = text.split_once('=') else {
        let detail = format!("`{text}` is no value: expected `key=text` or `key:=json`");
        return Err(Problem::new("usage.values", detail).help(EXAMPLE));
    };
    match key.strip_suffix(':') {
        None => Ok((key, value.into())),
        Some(key) => match serde_json::from_str(value) {
            Ok(value) => Ok((key, value)),
            Err(_) if value.is_empty() => {
                let detail = format!("nothing follows `{key}:=`, which asks for JSON");
                Err(Problem::new("usage.values", detail).help(EXAMPLE))
            }
            Err(error) => {
                let detail = format!("`{value}` is no JSON, and `{key}:=` asks for some");
                let problem = Problem::new("usage.values", detail).because(&error);
                Err(problem.help(format!("write `{key}={value}` for a text; {EXAMPLE}")))
            }
        },
    }
}

fn checked<'k>(key: &'k str, of: &str) -> Result<&'k str, Problem> {
    if key.trim().is_empty() {
        let detail = format!("`{of}` has a blank key");
        return Err(Problem::new("usage.values", detail).help(EXAMPLE));
    }
    Ok(key)
}

/// The object that `--values` gives: JSON, or `@` and the file it stands in; `@-` is the standard input.
fn object(many: &str) -> Result<serde_json::Map<String, Value>, Problem> {
    let text = match many.strip_prefix('@') {
        None => many.to_owned(),
        Some(file) => read(file).map_err(|error| {
            let detail = format!("failed to read the values in `{file}`");
            Problem::new("usage.values", detail).because(&error)
        })?,
    };
    let refused = |detail: &str| {
        Problem::new("usage.values", detail)
            .help("for instance `--values '{\"name\": \"Ada\"}'`, `--values @values.json` or `--values @-`")
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(refused("`--values` is JSON, but no object")),
        Err(error) => Err(refused("`--values` is no JSON").because(&error)),
    }
}

fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use plg_host::Value;

    use super::context;

    fn of(many: Option<&str>, pairs: &[&str]) -> Vec<(String, Value)> {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        let context = context(many, &pairs).unwrap();
        let values = context.iter();
        values
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn a_pair_is_text_unless_it_asks_for_json() {
        let expected = [
            ("name", Value::from("Ada")),
            ("count", Value::I64(3)),
            ("number", Value::from("3")),
            ("sum", Value::from("1+1:=2=2")),
            ("none", Value::Null),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value));
        let found = of(
            None,
            &[
                "name=Ada",
                "count:=3",
                "number=3",
                "sum=1+1:=2=2",
                "none:=null",
            ],
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn the_last_one_wins() {
        let expected = [("a".to_owned(), Value::from("3"))];
        assert_eq!(of(Some(r#"{"a": 1}"#), &["a=2", "a=3"]), expected);
    }

    #[test]
    fn what_is_wrong_is_shown_with_an_example() {
        for (many, pairs) in [
            (None, vec!["name"]),
            (None, vec!["=Ada"]),
            (None, vec![" =Ada"]),
            (None, vec!["n:=Ada"]),
            (Some("[1]"), vec![]),
            (Some("{"), vec![]),
            (Some("@/does/not/exist"), vec![]),
        ] {
            let pairs: Vec<String> = pairs.into_iter().map(str::to_owned).collect();
            let problem = context(many, &pairs).unwrap_err();
            assert_eq!(problem.code(), "usage.values");
            assert_eq!(problem.exit().status(), 2);
        }
    }
}
