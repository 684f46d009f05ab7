//! A plugin whose builds differ in how well they do, and what becomes of those that do badly.

use std::path::PathBuf;

use plg_host::{Context, Error, Event, Events, Handle, Host, Value};

use super::plugins::{number, with_header};
use super::wait_until;

/// `fixtures/c/flaky.c` with these macros. It answers `build` and `work`.
pub(crate) fn flaky_with(defines: &[&str]) -> PathBuf {
    with_header("flaky.c", &[], defines)
}

/// A build whose `work` panics every `fails`-th time; 0 for never.
pub(crate) fn flaky(build: u32, fails: u32) -> PathBuf {
    flaky_with(&[&format!("BUILD={build}"), &format!("FAILS={fails}")])
}

/// The build that answers, whatever becomes of its `work`.
pub(crate) fn build_of(plugin: &Handle) -> i64 {
    number(plugin, "build")
}

/// The build that did some work, unless that failed.
pub(crate) fn work(plugin: &Handle) -> Result<Option<i64>, Error> {
    let mut ctx = Context::new();
    plugin.call("work", &mut ctx)?;
    Ok(ctx.get("build").and_then(Value::as_i64))
}

fn is_returned(event: &Event) -> bool {
    event.code == Some("upgrade.returned")
}

/// The notices of builds that came back, from the first on, when everything that failures asked for is
/// done: builds come back one after the other, and that of a witness comes last.
pub(crate) fn returned(host: &Host, events: &mut Events) -> Vec<Event> {
    let build = |number: &str| {
        let [number, fails] = [
            format!("BUILD={number}"),
            format!("FAILS={}", number == "2"),
        ];
        let fails = fails.replace("true", "1").replace("false", "0");
        flaky_with(&["NAME=\"witness\"", &number, &fails])
    };
    let witness = host.load(build("1")).expect("the witness loads");
    host.upgrade("witness", build("2"))
        .expect("the witness is upgraded");
    let mut notices = Vec::new();
    wait_until("the witness to come back", || {
        let _ = work(&witness);
        while let Some(event) = events.try_next() {
            if is_returned(&event) {
                if event
                    .plugin
                    .as_ref()
                    .is_some_and(|name| *name == *"witness")
                {
                    return true;
                }
                notices.push(event);
            }
        }
        false
    });
    notices
}
