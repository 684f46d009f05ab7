//! Codes of plugins by name.

use super::Actor::{Developer, Operator};
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("plugin.busy", Developer, "the plugin is being changed by the thread that asks")
        .help("load, upgrade and unload a plugin from outside its own `init` and `stop`")
        .text(
            "The plugin's `init` or `stop` runs on this thread, and something in it wants to load, upgrade or unload that same \
             plugin, which would wait for itself for ever. Nothing was changed. Threads other than this one simply wait.",
        ),
    warning("plugin.crashed", Operator, "an earlier process died of a plugin")
        .help("upgrade the plugin; `plg quarantine clear` lets the same build be loaded again")
        .text(
            "A process that had this build loaded was ended from inside it: by a crash, an abort, a stack overflow or a call \
             of `exit`. It left word of it, and this start put that build in quarantine, by its digest: other builds of the \
             plugin load as always. Nothing in the same process can keep a plugin from ending it; isolation can.",
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
    error("plugin.stuck", Operator, "too many threads did not come back from the plugin")
        .help("upgrade the plugin to a build that ends, or run it isolated")
        .text(
            "Calls of this build did not come back at their deadlines: it loops or waits for ever. Each took a thread of the \
             process with it, which nothing can stop from outside. To bound that, further calls are refused, until a thread \
             comes back or another build answers. The snapshot names the threads and labels; other plugins go on as before.",
        ),
];
