//! Codes of calls, and of what plugins do with the context of a call.

use super::Actor::{Author, Developer, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("call.cancelled", Developer, "the caller cancelled the call")
        .help("nothing, if that was meant")
        .text(
            "The `Cancel` that was given to the context was used, and the call ended because of it or did not begin. What \
             the plugin set before that is in the context. The plugin goes on answering other calls.",
        ),
    error("call.depth", Author, "plugins call each other too deeply")
        .help("look for plugins that call each other in a circle; `Limits::depth` is the limit")
        .text(
            "A plugin called another, which called another, and so on beyond the limit. Usually two plugins call each \
             other for ever, which would end in a stack overflow and with it the host. The call that went too deep was \
             refused, and all plugins go on. Raise `Limits::depth` only if the nesting is meant.",
        ),
    error("call.failed", Author, "the plugin reported an error")
        .help("read the plugin's message; its own code, if it has one, is in its documentation")
        .text(
            "The plugin ran and said that it cannot do what it was asked, with a message and perhaps a code of its own. \
             The host passes both on and knows no more about them. The plugin goes on answering. Values that it set before \
             it failed are in the context.",
        ),
    error("call.no_route", Developer, "the plugin does not have that label")
        .help("call one of the labels in the message; `plg inspect PATH` lists them")
        .text(
            "The label is none that the plugin answers, or no text that could be a label. Where a plugin says which labels \
             it has, the host refuses others without asking it; where it does not, the plugin itself refused. Nothing was \
             changed. Labels are compared letter by letter, upper and lower case included.",
        ),
    error("call.overloaded", Operator, "too many calls are inside the plugin")
        .help("call less at once, or raise `Limits::in_flight` and `Limits::queue`")
        .text(
            "As many calls as may be are inside the plugin, and as many as may wait do. The call was not made. The limit keeps \
             one slow plugin from taking all threads of the process; calls of other plugins do not notice. Raise the limits \
             if the plugin can take it.",
        ),
    error("call.panicked", Author, "the plugin panicked")
        .help("report the message and the place in it to the plugin's author")
        .text(
            "The plugin's code panicked during the call. The panic was caught inside the plugin, so the host, the other \
             plugins and other calls of this one go on. What the plugin had half done may still be so: locks that it held \
             are poisoned, and its next calls may fail because of that. The message says where it happened.",
        ),
    error("call.threads", Operator, "there is no thread or no place for one")
        .help("call from a pool of threads instead of a thread for each call")
        .text(
            "Each thread that calls a plugin holds a place of its own as long as the thread lives, and a call with a deadline \
             runs on a thread of the host. All places are taken, or the system has no thread. The call was not made, and calls \
             on the other threads go on. Places become free when threads end.",
        ),
    error("call.timeout", Developer, "the call was not done before its deadline")
        .help("give it more time, or look at what the plugin waits for")
        .text(
            "The deadline of the context passed before the call began, while the plugin looked at it, or while the plugin \
             did not look. The caller has its answer in time all the same, but code in the same process cannot be stopped \
             from outside: a plugin that never looks keeps its thread until it is done, and the snapshot names that thread. \
             Authors check `ctx.cancelled()` in their loops and give `ctx.remaining()` to whatever they wait for.",
        ),
    error("ctx.expired", Author, "the plugin used a context after its call")
        .help("keep values, not the context, beyond a call")
        .text(
            "A context belongs to one call on one thread. The plugin kept it and used it after the call had ended, or on \
             another thread. The host noticed, did nothing with it and goes on. Copy what is needed out of the context, \
             and let work in the background leave its results where the next call finds them.",
        ),
    error("ctx.key", Author, "a key is no text that can be a key")
        .help("use short texts in UTF-8 as keys")
        .text(
            "The plugin gave a key that is not UTF-8, or the number of an interned key that the host never gave out. The \
             value was not read or set. With the types of `plg-plugin-api` this cannot happen; a plugin in another \
             language should look at the length it passes.",
        ),
    error("ctx.missing", Developer, "a value that the plugin needs is not there")
        .help("set the value that the message names, for instance `plg call … name=Ada`")
        .text(
            "The plugin asked the context for a value under a key that has none, and cannot do without. Nothing is wrong \
             with the plugin or the host. The plugin's documentation says which values a label reads. A value that is \
             null is there; use of it as a text is `ctx.type`.",
        ),
    error("ctx.too_large", Author, "a value or key is larger than the host allows")
        .help("return less at once, or raise `value_bytes`, `key_bytes` or `values` of `Limits`")
        .text(
            "The plugin wanted to set a value or key beyond a limit of the host, which keeps a plugin from filling the \
             memory of the process. The value was not set, what stood there before still does, and the plugin was told. \
             Large results are better returned in parts, or as the path of a file.",
        ),
    error("ctx.type", Developer, "a value is of another kind than the plugin needs")
        .help("give the kind that the message names; `key:=3` on the command line is a number, `key=3` a text")
        .text(
            "There is a value under the key, and it is of another kind than the plugin asked for; the message shows both. \
             Kinds are not converted silently, so that no number is cut off and no text is guessed at. Only whole numbers \
             are given where fractions are asked for.",
        ),
];
