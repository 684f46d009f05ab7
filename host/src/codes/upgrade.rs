//! Codes of upgrades, and of the ways back.

use super::Actor::{Author, Developer, Operator};
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("upgrade.canary", Operator, "a canary of the plugin is under way")
        .help("promote it or end it first: `Host::promote_canary`, `Host::end_canary`")
        .text(
            "A new build answers a share of the plugin's calls, and two builds at once are enough. Nothing was changed. The \
             snapshot of the plugin says how far the canary is; it is promoted or taken out by itself as its calls go.",
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
    error("upgrade.no_canary", Developer, "the plugin has no canary")
        .help("begin one with `Host::canary`")
        .text(
            "What was asked for needs a new build that answers a share of the calls, and there is none: it was never begun, \
             or it was promoted or taken out meanwhile. Nothing was changed.",
        ),
    error("upgrade.no_previous", Operator, "there is no earlier build to go back to")
        .help("upgrade to the build that you want")
        .text(
            "The host keeps the build that answered before the last upgrade, from its own bytes. Since the plugin was loaded \
             there was no upgrade, or the one before could not be kept. Nothing was changed.",
        ),
    warning("upgrade.returned", Author, "a new build failed on trial, and the one before answers again")
        .help("look at the errors and panics of the build that failed, and give it a new version")
        .text(
            "After an upgrade a build is on trial for a while. This one failed more often than the policy allows, so the host \
             brought the build before back, once, or took the canary out. The watch leaves the build that failed alone for a \
             while, longer each time; whoever asks for it gets it at once.",
        ),
    error("upgrade.state", Author, "the state of the old build could not be handed over")
        .help("read the plugin's message; both builds must agree on the version of the state")
        .text(
            "The plugin keeps state that its next build takes over. The old build could not save it, the new one could not \
             restore it, it was too large, or calls did not end in time. The old build goes on answering with its state, and \
             calls that were held back meanwhile went on there. No call was lost.",
        ),
];
