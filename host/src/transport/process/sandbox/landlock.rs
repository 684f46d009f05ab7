//! Which files a process reaches.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::Grant;

/// What a process reaches beside what every process needs.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    /// Files that are run, and what there is for them to read.
    pub(super) own: &'a [PathBuf],
    /// The one directory that it may write to.
    pub(super) work: &'a Path,
    pub(super) granted: &'a [Grant],
}

/// Programs, their libraries, and what comes with them.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    // Where some systems have all of these.
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
];
/// What libraries and interpreters read at their start.
const SETTINGS: [&str; 21] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.alias",
    "/etc/locale.conf",
    "/etc/mime.types",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    "/etc/perl",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/vm/overcommit_memory",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
    "/dev/random",
    "/dev/urandom",
];
/// What is read to find other machines and to know them.
const NAMES: [&str; 10] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/pki",
    "/etc/ca-certificates",
];
/// Devices that hold nothing.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];

/// Builds the rules for a kernel with this version of landlock.
pub(super) fn ruleset(version: i32, reach: &Reach<'_>) -> Result<OwnedFd, String> {
    let abi = ABI::from(version);
    let network = reach.granted.contains(&Grant::Network);
    let rules = begin(abi, network).map_err(|error| format!("landlock: {error}"))?;
    let mut rules = Rules { rules, abi };
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = read | AccessFs::Execute;
    for path in SYSTEM {
        rules.allow_if_there(Path::new(path), run)?;
    }
    for path in SETTINGS {
        rules.allow_if_there(Path::new(path), read)?;
    }
    for path in pythons() {
        rules.allow_if_there(&path, read)?;
    }
    for path in DEVICES {
        rules.allow_if_there(Path::new(path), read | AccessFs::WriteFile)?;
    }
    if network {
        for path in NAMES {
            rules.allow_if_there(Path::new(path), read)?;
        }
    }
    for path in reach.own {
        rules.allow_if_there(path, run)?;
    }
    // Devices are made by nobody, and what was written is not run.
    let never = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock;
    let write = AccessFs::from_all(abi) & !never;
    rules.allow(reach.work, write)?;
    for grant in reach.granted {
        match grant {
            Grant::Read(path) => rules.allow(path, run)?,
            Grant::Write(path) => rules.allow(path, write | AccessFs::Execute)?,
            Grant::Network | Grant::Other(_) => {}
        }
    }
    // Without an error there is one on every kernel that has landlock.
    let rules: Option<OwnedFd> = rules.rules.into();
    rules.ok_or_else(|| "landlock made no rules".to_owned())
}

/// Everything that this version can hold back is.
fn begin(abi: ABI, network: bool) -> Result<RulesetCreated, landlock::RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 && !network {
        rules = rules.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    rules.create()
}

struct Rules {
    rules: RulesetCreated,
    abi: ABI,
}

impl Rules {
    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
        let is_directory = fs::metadata(path).map_err(|error| failed(&error))?.is_dir();
        let access = match is_directory {
            true => access,
            false => access & AccessFs::from_file(self.abi),
        };
        let place = PathFd::new(path).map_err(|error| failed(&error))?;
        let rule = PathBeneath::new(place, access);
        // Only the reference has a form that leaves the rules where they are.
        let added = (&mut self.rules).add_rule(rule);
        added.map(|_| ()).map_err(|error| failed(&error))
    }

    fn allow_if_there(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), String> {
        match fs::metadata(path) {
            Ok(_) => self.allow(path, access),
            Err(error) if is_nothing(&error) => Ok(()),
            Err(error) => Err(format!("`{}`: {error}", path.display())),
        }
    }
}

/// Whether the host sees nothing there, so that there is nothing to allow either.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// The settings of Python, one directory for each version.
fn pythons() -> Vec<PathBuf> {
    let entries = fs::read_dir("/etc").into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("python"));
    ours.map(|entry| entry.path()).collect()
}
