//! Codes of watched directories.

use super::Actor::Operator;
use super::{Code, warning};

pub(super) const ROWS: &[Code] = &[
    warning("dir.back", Operator, "a watched directory that was lost is there again")
        .help("nothing needs to be done; compare what is loaded with what is in it")
        .text(
            "The directory is watched again, and what was added or changed in it meanwhile is loaded. What was loaded before and \
             is not in it stays loaded, because a directory that was made anew, or mounted over, does not say that \
             somebody removed a plugin. Unload such plugins by hand.",
        ),
    warning("dir.lost", Operator, "a watched directory is gone or cannot be read")
        .help("make it again, or mount it; `dir.back` says when it is seen")
        .text(
            "A plugin directory was removed, renamed, unmounted or closed to this user. The plugins that were loaded from it stay \
             loaded and go on answering. The host looks for the directory again every now and then, and then for what changed.",
        ),
    warning("watch.polling", Operator, "the system reports no events of a watched directory")
        .help("raise `fs.inotify.max_user_watches` or `fs.inotify.max_user_instances` with sysctl")
        .text(
            "The limits of this user or of the process allow no further watch, so changes are found by looking through the directories \
             at intervals. Nothing is missed, but it takes up to one interval longer. It is said once for each watch; events are \
             used again as soon as the system has some to give.",
        ),
];
