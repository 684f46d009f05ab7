//! Which sandbox a plugin gets.

use std::path::{Path, PathBuf};

use plg_packaging::Permission;

use super::barrier::{Barrier, Walls};
use super::landlock::{self, Reach};
use super::{Grant, Kernel, Resources, rlimits, seccomp};
use crate::transport::process::ProcessError;

/// What the process of a plugin is held to.
#[derive(Clone, Debug)]
pub(crate) struct Confinement {
    resources: Resources,
    sandbox: Option<Sandbox>,
}

/// Beside the caps: files, system calls, privileges.
#[derive(Clone, Debug)]
struct Sandbox {
    granted: Vec<Grant>,
    /// What it may read and run beside its program.
    own: Vec<PathBuf>,
    kernel: Kernel,
}

impl Confinement {
    /// A process of its own that may do what its user may, within the caps that are set.
    pub(crate) fn isolated(resources: &Resources) -> Self {
        Self {
            resources: *resources,
            sandbox: None,
        }
    }

    /// A process that reads its own files and those of the system, writes to its working directory and nowhere
    /// else, and reaches no network, but for what was granted. `kernel` is what has to hold it to that.
    pub(crate) fn sandboxed(granted: &[Permission], resources: &Resources, kernel: Kernel) -> Self {
        Self {
            resources: resources.or(&Resources::SANDBOXED),
            sandbox: Some(Sandbox {
                granted: granted.iter().map(Grant::from).collect(),
                own: Vec::new(),
                kernel,
            }),
        }
    }

    /// Lets it read and run this file, or what is below this directory.
    pub(crate) fn with_own(mut self, path: &Path) -> Self {
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.own.push(path.to_owned());
        }
        self
    }

    pub(super) fn is_sandbox(&self) -> bool {
        self.sandbox.is_some()
    }

    /// The caps it is held to.
    pub(super) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Variables that it gets in place of the host's: directories that it may write to.
    pub(in super::super) fn variables<'a>(&self, work: &'a Path) -> Vec<(&'static str, &'a Path)> {
        match self.sandbox {
            Some(_) => vec![("HOME", work), ("TMPDIR", work)],
            None => Vec::new(),
        }
    }

    /// Puts together what stands around a process that runs `program` and writes below `work`.
    ///
    /// # Errors
    ///
    /// `proc.sandbox` when the kernel cannot hold a process to that.
    pub(crate) fn barrier(&self, program: &Path, work: &Path) -> Result<Barrier, ProcessError> {
        let walls = match &self.sandbox {
            Some(sandbox) => {
                let walls = sandbox.walls(program, work);
                Some(walls.map_err(ProcessError::Sandbox)?)
            }
            None => None,
        };
        Ok(Barrier {
            limits: rlimits::limits(&self.resources),
            walls,
        })
    }
}

impl Sandbox {
    fn walls(&self, program: &Path, work: &Path) -> Result<Walls, String> {
        let missing = self.kernel.missing();
        if !missing.is_empty() {
            return Err(format!("this kernel has no {}", missing.join(" and no ")));
        }
        let own: Vec<PathBuf> = self.own.iter().cloned().chain(files_of(program)).collect();
        let reach = Reach {
            own: &own,
            work,
            granted: &self.granted,
        };
        let network = self.granted.contains(&Grant::Network);
        Ok(Walls {
            rules: landlock::ruleset(self.kernel.landlock, &reach)?,
            filters: seccomp::filters(network)?,
        })
    }
}

/// A program, and what an interpreter keeps beside it: `lib` next to the `bin` that it is in.
fn files_of(program: &Path) -> Vec<PathBuf> {
    let program = program
        .canonicalize()
        .unwrap_or_else(|_| program.to_owned());
    let mut files = Vec::new();
    let directory = program.parent().filter(|parent| parent.ends_with("bin"));
    if let Some(prefix) = directory.and_then(Path::parent) {
        files.extend(["lib", "lib64"].map(|name| prefix.join(name)));
    }
    files.push(program);
    files
}
