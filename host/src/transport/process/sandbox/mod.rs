//! What a plugin's process may do, and how it is held to that. A sandbox is put together before the process
//! begins, and put around it between `fork` and `exec`; where the kernel cannot hold what was asked for, nothing
//! is started.
//!
//! - [`confinement`]: which of it a plugin gets.
//! - [`grant`]: what the permissions of a manifest mean.
//! - [`resources`]: the caps that an operator can set.
//! - [`kernel`]: what this kernel can hold a process to.
//! - [`rlimits`]: caps of one process.
//! - [`landlock`]: which files it reaches.
//! - [`seccomp`]: which system calls it can make.
//! - [`barrier`]: all three, ready to be put around a process.
//! - [`remark`]: what a confinement has to do with the way a process ended.

mod barrier;
mod confinement;
mod grant;
mod kernel;
mod landlock;
mod remark;
mod resources;
mod rlimits;
mod seccomp;

pub use grant::Grant;
pub use resources::Resources;

pub(crate) use confinement::Confinement;
pub(crate) use kernel::Kernel;

pub(super) use barrier::{Barrier, Walls};
pub(super) use remark::Held;
