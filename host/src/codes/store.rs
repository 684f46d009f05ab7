//! Codes of the store and its lock file.

use super::Actor::Operator;
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("install.downgrade", Operator, "an older version than the one that is installed")
        .help("give `--downgrade` if that is what you want, or go back with `plg undo`")
        .text(
            "The bundle is of an older version than the one that is installed, and an older version may have faults that were \
             repaired since. Nothing was changed. `plg undo` goes back to what was installed before without the bundle.",
        ),
    error("install.twice", Operator, "two bundles of one plugin are to be installed at once")
        .help("give one bundle for each plugin")
        .text(
            "All bundles of one command become one change, and a plugin is installed in one build. Nothing was changed, for nobody \
             can say which of them was meant.",
        ),
    error("lock.damaged", Operator, "the lock file cannot be read")
        .help("run `plg lock --restore`, which writes it again, or `plg undo`")
        .text(
            "The file in the message is not what plg wrote: it was edited, or the disk lost some of it. Nothing is changed or \
             loaded until that is settled, and the builds are as they were. `plg lock --restore` writes `plg.lock` again \
             from the newest set that can be read, and `plg undo` goes back to the one before.",
        ),
    error("lock.mismatch", Operator, "the lock file does not say what is installed")
        .help("run `plg lock --restore` to keep what is installed, or install with `--update` if new bytes are wanted")
        .text(
            "Either the lock file was edited, is gone or is an old copy, and names other plugins, versions or digests than the set of \
             its number; then nothing is changed or loaded until `plg lock --restore` or `plg undo`. Or a bundle has other \
             bytes than those that are locked for the same version, which may be a new build of it and may be an attack; then \
             `--update` installs it. Nothing was changed.",
        ),
    error("store.busy", Operator, "another process is changing the store")
        .help("wait until it is done and try again; `fuser` on the file in the message says who it is")
        .text(
            "One process at a time changes a store, and this one has waited as long as it was told to. A process that died does \
             not hold the lock, but one that was stopped does. Nothing was changed.",
        ),
    error("store.format", Operator, "the store was written by a newer version of plg")
        .help("use that version of plg, or a newer one")
        .text(
            "The lock file or a set has a format that this version does not know. It is left as it is, because what is not \
             understood is not overwritten. Nothing of the store is loaded.",
        ),
    error("store.no_set", Operator, "there is no such set to go back to")
        .help("`plg history --installed` shows the sets that there are")
        .text(
            "Every change of what is installed makes a set with a number, and an undo goes back to one. The one that was asked for \
             never was, or a collection has removed it, or there was nothing before. Nothing was changed.",
        ),
    error("store.not_installed", Operator, "the plugin is not installed")
        .help("`plg list --installed` shows what is; `plg install` adds a plugin")
        .text(
            "The store has no plugin of that name. Only what is installed can be upgraded, removed or loaded from there. Nothing was \
             changed.",
        ),
    error("store.tampered", Operator, "an installed file was changed")
        .help("install the bundle again, which puts the build right; find out who changed it")
        .text(
            "A file of an installed build is not what was unpacked: it was changed, added or removed, by somebody or by a failing \
             disk. The plugin is not loaded from there, and the bytes that were found are quarantined when they are a library. Other \
             plugins are not affected. To install the same bundle again replaces the whole build.",
        ),
    error("store.unsafe", Operator, "others could change what is in the store")
        .help("give the store a directory of its own with `--home`, or take write permission from others")
        .text(
            "Whoever can write to the store decides which code runs. Its home has to be a real directory of this user in which nobody \
             else can write, not even a group. The directories on the way to it belong to this user or to root, and only their \
             group may write there, or everybody where a name can only be removed by its owner, as in `/tmp`. Nothing was changed.",
        ),
    error("store.unsettled", Operator, "a change is in force but may not outlive a loss of power")
        .help("look at the disk, then repeat the command, or `plg undo`")
        .text(
            "The change was made, the disk then failed to say that it has it, and it could not be taken back. What is installed is \
             whole and the new set is in force. If the machine stops now, it may start with the set before.",
        ),
    error("upgrade.needs_consent", Operator, "the new build asks for more permissions than the installed one")
        .help("read what it asks for, and give `--grant` if it may")
        .text(
            "The bundle's manifest asks for permissions that the installed build did not ask for. They are the operator's to give, \
             and an upgrade does not take them by itself. Nothing was changed, and the installed build goes on.",
        ),
];
