//! Changes, counts and splits text: several labels on one entry point.

use plg_plugin_api::{Context, Error, Key, Value, plugin};

const LABELS: [&str; 5] = [
    "text.upper",
    "text.lower",
    "text.reverse",
    "text.count",
    "text.split",
];

plugin!(execute, labels: LABELS);

// A key in a static is looked up by number after its first use.
static TEXT: Key = Key::new("text");
static SEPARATOR: Key = Key::new("separator");
static COUNT: Key = Key::new("count");
static PARTS: Key = Key::new("parts");

fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
    match ctx.label() {
        "text.upper" => change(ctx, str::to_uppercase),
        "text.lower" => change(ctx, str::to_lowercase),
        "text.reverse" => change(ctx, |text| text.chars().rev().collect()),
        "text.count" => count(ctx),
        "text.split" => split(ctx),
        other => Err(Error::unknown_label(other, &LABELS)),
    }
}

/// Replaces the text, so that calls can be chained over the same values.
fn change(ctx: &mut Context<'_>, change: fn(&str) -> String) -> Result<(), Error> {
    let changed = change(ctx.get(&TEXT)?);
    ctx.set(&TEXT, changed)
}

fn count(ctx: &mut Context<'_>) -> Result<(), Error> {
    let text: &str = ctx.get(&TEXT)?;
    let count = Value::from([
        ("words", number(text.split_whitespace().count())?),
        ("chars", number(text.chars().count())?),
        ("bytes", number(text.len())?),
    ]);
    ctx.set(&COUNT, count)
}

fn split(ctx: &mut Context<'_>) -> Result<(), Error> {
    let text: &str = ctx.get(&TEXT)?;
    let parts: Vec<Value> = match ctx.find::<&str>(&SEPARATOR)? {
        None => text.split_whitespace().map(Value::from).collect(),
        // An empty separator matches between all characters and at both ends, which nobody means.
        Some("") => {
            return Err(Error::new(
                "text.separator",
                "`separator` is empty; leave it out to split into words",
            ));
        }
        Some(separator) => text.split(separator).map(Value::from).collect(),
    };
    ctx.set(&PARTS, Value::List(parts))
}

fn number(count: usize) -> Result<i64, Error> {
    Ok(i64::try_from(count)?)
}

#[cfg(test)]
mod tests {
    use plg_plugin_api::Value;
    use plg_plugin_api::testing::Call;

    use super::{LABELS, execute};

    fn changed(label: &str, text: &str) -> String {
        let done = Call::new(label).with("text", text).run(execute).unwrap();
        done.text("text").unwrap().to_owned()
    }

    fn parts(call: Call) -> Vec<String> {
        let done = call.run(execute).unwrap();
        let parts = done.value("parts").and_then(Value::as_list).unwrap();
        parts
            .iter()
            .map(|part| part.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn changes_text_in_place() {
        assert_eq!(changed("text.upper", "straße"), "STRASSE");
        assert_eq!(changed("text.lower", "ÀDA"), "àda");
        assert_eq!(changed("text.reverse", "añb"), "bña");
        assert_eq!(changed("text.reverse", ""), "");
    }

    #[test]
    fn counts_words_chars_and_bytes() {
        let done = Call::new("text.count")
            .with("text", " ein süßer\tTag ")
            .run(execute)
            .unwrap();
        let expected = Value::from([("words", 3), ("chars", 15), ("bytes", 17)]);
        assert_eq!(done.value("count"), Some(&expected));
    }

    #[test]
    fn splits_at_a_separator_or_into_words() {
        let words = Call::new("text.split").with("text", "  a b\n c ");
        assert_eq!(parts(words), ["a", "b", "c"]);
        let fields = Call::new("text.split")
            .with("text", "a,,b")
            .with("separator", ",");
        assert_eq!(parts(fields), ["a", "", "b"]);
        assert_eq!(
            parts(Call::new("text.split").with("text", "")),
            [] as [&str; 0]
        );
    }

    #[test]
    fn refuses_an_empty_separator() {
        let error = Call::new("text.split")
            .with("text", "ab")
            .with("separator", "")
            .run(execute)
            .unwrap_err();
        assert_eq!(error.code(), "text.separator");
    }

    #[test]
    fn every_label_needs_a_text() {
        for label in LABELS {
            let error = Call::new(label).run(execute).unwrap_err();
            assert_eq!(error.code(), "ctx.missing", "{label}");
            let error = Call::new(label).with("text", 7).run(execute).unwrap_err();
            assert_eq!(error.code(), "ctx.type", "{label}");
        }
    }

    #[test]
    fn names_its_labels_to_whoever_asks_for_another() {
        let error = Call::new("text.uper").run(execute).unwrap_err();
        assert_eq!(error.code(), "call.no_route");
        assert!(
            error.message().contains("`text.upper`"),
            "{}",
            error.message()
        );
    }

    #[test]
    fn the_manifest_lists_the_same_labels() {
        let manifest = include_str!("../plugin.json");
        for label in LABELS {
            assert_eq!(
                manifest.matches(&format!("\"{label}\"")).count(),
                2,
                "{label}"
            );
        }
    }
}
