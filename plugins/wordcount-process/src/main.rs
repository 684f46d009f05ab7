//! Counts the words of a text, as a program of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use plg_plugin_api::{Context, Error, Value, process};

const LABELS: [&str; 2] = ["count", "top"];
/// How many words go by between two looks at whether the caller still waits.
const STEP: usize = 10_000;

fn main() -> ExitCode {
    process::run(execute, include_str!("../plugin.json"))
}

fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
    match ctx.label() {
        "count" => count(ctx),
        "top" => top(ctx),
        other => Err(Error::unknown_label(other, &LABELS)),
    }
}

fn count(ctx: &mut Context<'_>) -> Result<(), Error> {
    let text: &str = ctx.get("text")?;
    let words = text.split_whitespace().count();
    let lines = text.lines().count();
    let chars = text.chars().count();
    ctx.set("words", words)?;
    ctx.set("lines", lines)?;
    ctx.set("chars", chars)
}

fn top(ctx: &mut Context<'_>) -> Result<(), Error> {
    let limit = ctx.find::<usize>("limit")?.unwrap_or(10);
    let ignored = ignored();
    let words: Vec<String> = ctx
        .get::<&str>("text")?
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .filter(|word| !ignored.contains(word.as_str()))
        .collect();
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for (index, word) in words.iter().enumerate() {
        if index % STEP == 0 && index > 0 {
            if ctx.cancelled() {
                return Err(Error::new("call.cancelled", "the caller gave up"));
            }
            ctx.progress(index as u64, Some(words.len() as u64), "words");
        }
        *counts.entry(word).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    // The most frequent first; those that are equally frequent stay in order.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let top = counts.into_iter().take(limit).map(|(word, count)| {
        Value::from([("word", Value::from(word)), ("count", Value::from(count))])
    });
    ctx.set("top", Value::List(top.collect()))
}

/// The words that the operator does not want to see.
fn ignored() -> BTreeSet<&'static str> {
    let listed = process::config().get("ignore").and_then(Value::as_list);
    let listed = listed.unwrap_or_default();
    listed.iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use plg_plugin_api::Value;
    use plg_plugin_api::testing::Call;

    use super::{LABELS, execute};

    #[test]
    fn counts_words_lines_and_chars() {
        let call = Call::new("count").with("text", "ein süßer\nTag\n");
        let done = call.run(execute).unwrap();
        for (key, count) in [("words", 3), ("lines", 2), ("chars", 14)] {
            assert_eq!(done.value(key), Some(&Value::I64(count)), "{key}");
        }
    }

    #[test]
    fn lists_the_most_frequent_words() {
        let call = Call::new("top")
            .with("text", "b a, B; c a b")
            .with("limit", 2);
        let done = call.run(execute).unwrap();
        let entry = |word: &str, count: i64| {
            Value::from([("word", Value::from(word)), ("count", Value::from(count))])
        };
        let expected = Value::List(vec![entry("b", 3), entry("a", 2)]);
        assert_eq!(done.value("top"), Some(&expected));
    }

    #[test]
    fn stops_when_nobody_waits() {
        let text = "word ".repeat(20_000);
        let call = Call::new("top").with("text", text).cancelled();
        assert_eq!(call.run(execute).unwrap_err().code(), "call.cancelled");
    }

    #[test]
    fn says_what_is_wrong() {
        for label in LABELS {
            let error = Call::new(label).run(execute).unwrap_err();
            assert_eq!(error.code(), "ctx.missing", "{label}");
        }
        let call = Call::new("top").with("text", "a").with("limit", -1);
        assert_eq!(call.run(execute).unwrap_err().code(), "ctx.type");
        let error = Call::new("most").run(execute).unwrap_err();
        assert_eq!(error.code(), "call.no_route");
    }
}
