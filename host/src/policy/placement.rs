//! Where a build runs, and why there.

use plg_packaging::Permission;

use crate::transport::process::sandbox::Resources;

/// Where a build runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Placement {
    InProcess,
    /// In a process of its own.
    Isolated,
    /// In one that reaches next to nothing.
    Sandboxed,
}

/// Where a build runs, why there, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) placement: Placement,
    /// Why it is not in this process, in words; empty if it is.
    pub(crate) because: String,
    /// Whether it goes on in a process of its own when this one is closed to it.
    pub(crate) fallback: bool,
    /// Whether somebody wants it there and nowhere else.
    pub(crate) insist: bool,
    pub(crate) grants: Vec<Permission>,
    pub(crate) resources: Resources,
}

impl Placed {
    /// The same build in a process of its own, unless it is in one.
    pub(crate) fn isolated(self, because: String) -> Self {
        match self.placement {
            Placement::InProcess => Self {
                placement: Placement::Isolated,
                because,
                ..self
            },
            Placement::Isolated | Placement::Sandboxed => self,
        }
    }
}
