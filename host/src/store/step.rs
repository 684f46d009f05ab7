//! The steps in which a store changes the disk, and who is asked before each.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

macro_rules! steps {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// A step in which a store changes the disk.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Step { $($(#[$meta])* $variant,)* }

        impl Step {
            /// Every step there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, for instance `install.rename`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

steps! {
    /// The home or one of its directories is made.
    HomeDirectory = "home.directory",
    /// What a process that was killed left is removed.
    Sweep = "staging.sweep",
    /// What is needed no more is removed, at the end of a change.
    Discard = "staging.discard",
    /// A directory is made for what a bundle holds.
    Stage = "install.stage",
    /// A directory of a bundle is made in it.
    Directory = "install.directory",
    /// A file of a bundle is made.
    File = "install.file",
    /// Bytes are written to it.
    Write = "install.write",
    /// It, or a directory with all that is in it, is brought to the disk.
    Fsync = "install.fsync",
    /// A build that is damaged goes out of the way.
    Replace = "install.replace",
    /// The build gets its place.
    Rename = "install.rename",
    /// That place is brought to the disk.
    Settle = "install.settle",
    /// The file of a set is made.
    SetFile = "set.file",
    /// Bytes are written to it.
    SetWrite = "set.write",
    /// It is brought to the disk.
    SetFsync = "set.fsync",
    /// It gets its place.
    SetRename = "set.rename",
    /// That place is brought to the disk.
    SetSettle = "set.settle",
    /// A set that never came into force is removed.
    SetSweep = "set.sweep",
    /// The file that will be the lock file is made.
    LockFile = "lock.file",
    /// Bytes are written to it.
    LockWrite = "lock.write",
    /// It is brought to the disk.
    LockFsync = "lock.fsync",
    /// It takes the place of the one before: this is the moment of every change.
    LockRename = "lock.rename",
    /// That moment is brought to the disk.
    LockSettle = "lock.settle",
    /// An old set is forgotten.
    GcSet = "gc.set",
    /// A build that nobody needs loses its place.
    GcBuild = "gc.build",
    /// The note of who has it loaded is removed.
    GcLease = "gc.lease",
    /// The bytes of it are removed.
    GcRemove = "gc.remove",
    /// The note of who has a build loaded is made.
    Lease = "lease.file",
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a step.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Proceed,
    /// Of a write only so many bytes are; a step that writes none is done.
    Short(usize),
    /// It fails with this error and does nothing.
    Fail(io::Error),
}

/// Asked before every step, with the path that it changes. Tests answer with the faults of a disk, or
/// end the process; a display may count.
pub type StepHook = Arc<dyn Fn(Step, &Path) -> Answer + Send + Sync>;
