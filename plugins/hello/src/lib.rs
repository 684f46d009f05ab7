//! The smallest plugin that does something: it greets.

use plg_plugin_api::{Context, Error, plugin};

plugin!(execute, labels: ["greet"]);

fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
    match ctx.label() {
        "greet" => {
            let name: &str = ctx.get("name")?;
            let reply = format!("Hello, {name}!");
            ctx.set("reply", reply)
        }
        other => Err(Error::unknown_label(other, &["greet"])),
    }
}

#[cfg(test)]
mod tests {
    use plg_plugin_api::testing::Call;

    #[test]
    fn greets_by_name() {
        let done = Call::new("greet")
            .with("name", "Ada")
            .run(super::execute)
            .unwrap();
        assert_eq!(done.text("reply"), Some("Hello, Ada!"));
    }

    #[test]
    fn needs_a_name() {
        let error = Call::new("greet").run(super::execute).unwrap_err();
        assert_eq!(error.code(), "ctx.missing");
    }
}
