//! Codes of hooks.

use super::Actor::Operator;
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("hook.vetoed", Operator, "a hook of the app objected")
        .help("read the hook's reason; the app decides what it allows")
        .text(
            "The app that embeds the host asked to be told before this happens, and said no, for the reason in the message. \
             Nothing was changed, and a call did not reach the plugin. A hook that panics or takes too long objects to \
             nothing.",
        ),
];
