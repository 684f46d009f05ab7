//! What this kernel can hold a process to.

use crate::sentinel::system;

/// What this kernel has of what a sandbox is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Kernel {
    /// The version of landlock's interface; 0 is none.
    pub(crate) landlock: i32,
    /// Whether system calls can be filtered.
    pub(crate) seccomp: bool,
}

impl Kernel {
    /// The first version of landlock that holds back whatever writes to a file: before it a file that
    /// cannot be opened for writing could be truncated.
    pub(crate) const LANDLOCK: i32 = 3;

    /// Asks the kernel.
    pub(crate) fn current() -> Self {
        Self {
            landlock: system::landlock_abi(),
            seccomp: system::filters_system_calls(),
        }
    }

    /// What a sandbox needs and this kernel lacks; empty if it lacks nothing.
    pub(crate) fn missing(self) -> Vec<String> {
        let mut missing = Vec::new();
        match self.landlock {
            Self::LANDLOCK.. => {}
            ..=0 => missing.push("landlock".to_owned()),
            found => missing.push(format!(
                "version {} of landlock (it has version {found})",
                Self::LANDLOCK
            )),
        }
        if !self.seccomp {
            missing.push("seccomp filters".to_owned());
        }
        missing
    }
}
