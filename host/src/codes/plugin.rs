//! Codes of plugins by name, and of upgrades.

use super::Actor::{Developer, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("plugin.busy", Developer, "the plugin is being changed by the thread that asks")
        .help("load, upgrade and unload a plugin from outside its own `init` and `stop`")
        .text(
            "The plugin's `init` or `stop` runs on this thread, and something in it wants to load, upgrade or unload that same \
             plugin, which would wait for itself for ever. Nothing was changed. Threads other than this one simply wait.",
        ),
    error("plugin.loaded", Developer, "another build of the plugin is loaded")
        .help("use `Host::upgrade` to replace it while calls run")
        .text(
            "A plugin of that name is loaded from other bytes. Loading does not replace, because a caller would not notice; an \
             upgrade does, and loses no call. Loading the same bytes again is no error and returns the loaded plugin.",
        ),
    error("plugin.not_found", Operator, "there is no plugin of that name")
        .help("`plg list` shows the plugins of a directory")
        .text(
            "None of that name was loaded, or, on the command line, none stands in the plugin directory. Names are compared \
             letter by letter. `plg call` also takes a path, and `--plugin-dir` or PLG_PLUGIN_DIR say where to look.",
        ),
    error("plugin.unloaded", Developer, "the plugin is not loaded any more")
        .help("load it again; handles that were made before work again then")
        .text(
            "The plugin was unloaded, or the host was shut down, since the handle was made. The call did not reach any code. A \
             handle outlives the plugin and always means the newest generation of it.",
        ),
    error("upgrade.needs_restart", Operator, "too much of earlier builds is still in the process")
        .help("restart the process; then find out why the old code stays: `plg check PATH`")
        .text(
            "Old generations of the plugin could not be unmapped, and as many are retained as the limit allows. The upgrade was \
             refused before anything was changed, and the build that answered goes on answering. The snapshot of the plugin \
             says why each one stays: threads that do not end, leases, or no unload hooks.",
        ),
    error("upgrade.other_plugin", Operator, "the file is another plugin")
        .help("give a build of the plugin that is to be replaced")
        .text(
            "The plugin that answers and the one in the file have different names, so the second is no newer build of the first. \
             Nothing was changed. Load the other one beside it instead.",
        ),
    error("upgrade.rollback_denied", Operator, "the new build is older than the one that answers")
        .help("ask for it: `UpgradeOptions { allow_downgrade: true }`")
        .text(
            "The version in the file is lower than that of the build in service. An upgrade goes back only when it is asked to, so \
             that an old file in the wrong place replaces nothing. Nothing was changed. Builds of the same version replace \
             each other freely.",
        ),
];
