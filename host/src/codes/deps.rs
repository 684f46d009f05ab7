//! Codes of plugins that depend on each other.

use super::Actor::{Author, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("deps.breaks", Operator, "the change would break a plugin that depends on it")
        .help("change the plugins that the message names as well, or stay with a version in their range")
        .text(
            "A loaded plugin depends on this one in a range that the new version is not in. Nothing was changed, and all \
             plugins go on answering. Several plugins can be changed together; then only what comes of all the changes \
             has to fit.",
        ),
    error("deps.cycle", Author, "plugins depend on each other in a circle")
        .help("take one of the dependencies out of its `plugin.json`, or move what both need to a third plugin")
        .text(
            "Each plugin of the cycle has to be loaded after the next one, so none can be the first. The message shows the \
             shortest such cycle. None of these plugins is loaded, nor one that needs them, but for one that can do without \
             the others. The rest of the directory is loaded.",
        ),
    error("deps.in_use", Operator, "loaded plugins need the one that is to be unloaded")
        .help("unload the plugins that the message names first, or all of them together")
        .text(
            "Plugins that are loaded call this one and cannot do without. Unloading it would make their calls fail, so it stays \
             and goes on answering. A plugin that depends on it optionally does not keep it loaded.",
        ),
    error("deps.missing", Operator, "a plugin that is needed is not there")
        .help("install the plugin that the message names, or check the spelling in `dependencies` of the `plugin.json`")
        .text(
            "A plugin needs another one that is not there in any version. The plugin is not loaded, nor is who needs it; the \
             message shows the way from the plugin that was refused. The rest of the directory is loaded. A dependency \
             without which the plugin works can be made `optional`.",
        ),
    error("deps.self", Author, "a plugin depends on itself")
        .help("take the plugin's own name out of `dependencies` in its `plugin.json`")
        .text(
            "A plugin that has to be loaded after itself cannot be loaded. It calls its own labels without a dependency. The rest \
             of the directory is loaded.",
        ),
    error("deps.undecided", Operator, "the search for versions that go together was given up")
        .help("remove old versions of the plugins, or ask for narrower ranges, so that there is less to choose from")
        .text(
            "Versions of plugins exclude each other in so many ways that no answer was found in the steps that may be spent on \
             one. There may be an answer or not. Plugins that have nothing to do with these are loaded.",
        ),
    error("deps.unsatisfied", Operator, "no version of a plugin is right for all that depend on it")
        .help("install a version in the ranges of the message, or other versions of the plugins that ask for them")
        .text(
            "Of a plugin there are only versions that somebody cannot do with: outside of the range that a plugin names in its \
             `dependencies`, or outside of that of another one. The message has the ranges and the versions. The plugin that is \
             refused is not loaded, nor is who needs it; the rest of the directory is loaded.",
        ),
];
