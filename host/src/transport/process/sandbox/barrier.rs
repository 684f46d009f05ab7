//! What stands around a process, ready before it begins.

use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit};
use seccompiler::BpfProgram;

/// What a child puts around itself before it runs the plugin's program. There is nothing left to allocate or to
/// decide then.
#[derive(Debug)]
pub(crate) struct Barrier {
    pub(in super::super) limits: Vec<(Resource, Rlimit)>,
    pub(in super::super) walls: Option<Walls>,
}

/// What a sandboxed process has around it beside its limits.
#[derive(Debug)]
pub(in super::super) struct Walls {
    /// The rules of landlock.
    pub(in super::super) rules: OwnedFd,
    /// The filters of seccomp.
    pub(in super::super) filters: Vec<BpfProgram>,
}
