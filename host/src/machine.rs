//! What this machine has that a host makes use of, and what hosts left on it.
//!
//! ```
//! use plg_host::machine::Machine;
//! use plg_host::policy::Level;
//!
//! let machine = Machine::look();
//! if let Err(missing) = machine.offers(Level::Sandboxed) {
//!     println!("Linux {} cannot sandbox: {missing}", machine.kernel);
//! }
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, MemfdFlags, access, memfd_create};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::thread::{MembarrierQuery, membarrier_query};
use serde::Serialize;

use crate::policy::Level;
use crate::sentinel::system;
use crate::transport::process::run_directory;
use crate::transport::process::sandbox::Kernel;

/// What this machine has, for this user, at one moment.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// The version of the kernel.
    pub kernel: String,
    /// The version of landlock's interface; 0 if it is off or not there. Sandboxes need 3; from 6 on, signals to
    /// others are held back too.
    pub landlock: i32,
    /// Whether system calls can be filtered. Sandboxes need it.
    pub seccomp: bool,
    /// Whether a barrier can be had from all threads, so that calls need none of their own.
    pub membarrier: bool,
    /// Whether files can be in memory, sealed: where images of libraries are.
    pub memory_files: bool,
    /// Whether descriptors can be closed by their range. Processes of plugins need it.
    pub close_range: bool,
    /// Whether a process can be held by a descriptor. Processes of plugins need it.
    pub pidfd: bool,
    /// Whether this user can make user namespaces.
    pub user_namespaces: bool,
    /// The group of this process in cgroup v2, if there is one.
    pub cgroup: Option<Cgroup>,
}

/// The group that this process is in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
    /// What can be limited there, for instance `memory`.
    pub controllers: Vec<String>,
    /// Whether this user can make groups in it.
    pub is_writable: bool,
}

/// What a host left that does not live any more.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Leftover {
    /// The directory that it had its sockets in. It may be gone.
    pub path: PathBuf,
    /// Whether the directory is still there.
    pub exists: bool,
    /// The processes that work in it.
    pub processes: Vec<i32>,
}

impl Machine {
    /// Asks the kernel. Nothing is changed by that.
    #[must_use]
    pub fn look() -> Self {
        let Kernel { landlock, seccomp } = Kernel::current();
        let seals = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            landlock,
            seccomp,
            membarrier: membarrier_query().contains(MembarrierQuery::PRIVATE_EXPEDITED),
            memory_files: memfd_create("plg", seals).is_ok(),
            close_range: system::closes_ranges(),
            pidfd: pidfd_open(getpid(), PidfdFlags::empty()).is_ok(),
            user_namespaces: makes_user_namespaces(),
            cgroup: Cgroup::own(),
        }
    }

    /// Whether plugins of this level can run here.
    ///
    /// # Errors
    ///
    /// What is missing, in words.
    pub fn offers(&self, level: Level) -> Result<(), String> {
        let mut missing = Vec::new();
        if matches!(level, Level::Isolated | Level::Sandboxed) {
            if !self.close_range {
                missing.push("close_range".to_owned());
            }
            if !self.pidfd {
                missing.push("pidfds".to_owned());
            }
        }
        if level == Level::Sandboxed {
            let kernel = Kernel {
                landlock: self.landlock,
                seccomp: self.seccomp,
            };
            missing.extend(kernel.missing());
        }
        match &*missing {
            [] => Ok(()),
            missing => Err(format!("this kernel has no {}", missing.join(" and no "))),
        }
    }
}

impl Cgroup {
    fn own() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        // Where the first version is mounted as well, the second one is below it.
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let is_root = |root: &&str| Path::new(root).join("cgroup.controllers").exists();
        let path = Path::new(roots.into_iter().find(is_root)?).join(own);
        let controllers = fs::read_to_string(path.join("cgroup.controllers")).ok()?;
        let controllers = controllers.split_ascii_whitespace().map(str::to_owned);
        Some(Self {
            controllers: controllers.collect(),
            is_writable: access(&path, Access::WRITE_OK).is_ok(),
            path,
        })
    }
}

/// What hosts of this user left below `run_directory`, or below the one that they take by themselves. A host that
/// lives holds a lock on its directory, so none of it is here.
#[must_use]
pub fn leftovers(run_directory: Option<&Path>) -> Vec<Leftover> {
    let parent = run_directory.map_or_else(run_directory::parent, Path::to_owned);
    let parent = parent.canonicalize().unwrap_or(parent);
    let new = |path, exists| Leftover {
        path,
        exists,
        processes: Vec::new(),
    };
    let stale = run_directory::stale(&parent).into_iter();
    let mut left: Vec<Leftover> = stale.map(|path| new(path, true)).collect();
    for (process, directory) in working_directories() {
        let Some(path) = run_directory::root_of(&parent, &directory) else {
            continue;
        };
        let place = left.iter().position(|leftover| leftover.path == path);
        let place = match place {
            Some(place) => place,
            // Its host lives.
            None if path.exists() => continue,
            None => {
                left.push(new(path, false));
                left.len() - 1
            }
        };
        left[place].processes.push(process);
    }
    left.sort_by(|one, other| one.path.cmp(&other.path));
    left
}

/// Removes the directories that hosts of this user left below `run_directory`, or below the one that they take by
/// themselves, and says which. Processes that work in them go on. Every host does this for its own when it
/// starts its first process.
pub fn sweep(run_directory: Option<&Path>) -> Vec<PathBuf> {
    run_directory::sweep(&run_directory.map_or_else(run_directory::parent, Path::to_owned))
}

/// The processes that this user may look at, each with the directory that it works in.
fn working_directories() -> impl Iterator<Item = (i32, PathBuf)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| {
        let number = process.file_name().to_str()?.parse().ok()?;
        let directory = fs::read_link(process.path().join("cwd")).ok()?;
        Some((number, directory))
    })
}

fn makes_user_namespaces() -> bool {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let most = number("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    // Some systems keep them for root.
    let is_allowed = number("/proc/sys/kernel/unprivileged_userns_clone") != Some(0)
        && number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") != Some(1);
    let is_root = rustix::process::geteuid().is_root();
    most > 0 && (is_allowed || is_root) && Path::new("/proc/self/ns/user").exists()
}
