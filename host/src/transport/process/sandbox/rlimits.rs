//! Caps of one process.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, getuid};

use super::Resources;

/// The limits that a process is given, none above the host's own. Whoever is held to any leaves no core file:
/// what was in its memory is nobody's business.
pub(super) fn limits(resources: &Resources) -> Vec<(Resource, Rlimit)> {
    let processes = resources
        .processes
        .map(|more| more.saturating_add(tasks_of_user()));
    let wanted = [
        (Resource::Core, Some(0), 0),
        (Resource::As, resources.memory, 0),
        // The second one is for what the process does about the signal.
        (Resource::Cpu, resources.cpu_seconds, 1),
        (Resource::Fsize, resources.file_size, 0),
        (Resource::Nofile, resources.open_files, 0),
        (Resource::Nproc, processes, 0),
    ];
    let set = wanted.into_iter().filter_map(|(resource, wanted, grace)| {
        let (wanted, own) = (wanted?, getrlimit(resource).maximum);
        let capped = |limit: u64| own.map_or(limit, |own| own.min(limit));
        let limit = Rlimit {
            current: Some(capped(wanted)),
            maximum: Some(capped(wanted.saturating_add(grace))),
        };
        Some((resource, limit))
    });
    set.collect()
}

/// How many processes and threads this user has; what ends meanwhile may be left out.
fn tasks_of_user() -> u64 {
    let user = getuid().as_raw().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes.filter_map(|process| {
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        process
            .file_name()
            .to_str()
            .filter(|name| is_number(name))?;
        let status = fs::read_to_string(process.path().join("status")).ok()?;
        let field = |name| {
            let mut lines = status.lines();
            lines.find_map(|line: &str| line.strip_prefix(name)?.split_ascii_whitespace().next())
        };
        let threads = || field("Threads:")?.parse::<u64>().ok();
        (field("Uid:")? == user).then(threads)?
    });
    threads.sum()
}
