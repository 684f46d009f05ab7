//! What this process holds, counted from outside: the same figures that tests compare before and after.

use std::fs;
use std::path::Path;

use crate::plugin::thread;

/// What the process and one host in it hold at one moment. `None` where the system does not say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Census {
    /// Open file descriptors.
    pub descriptors: Option<usize>,
    /// Threads.
    pub threads: Option<usize>,
    /// Child processes, zombies included.
    pub children: Option<usize>,
    /// Memory mappings.
    pub mappings: Option<usize>,
    /// Sockets among the descriptors.
    pub sockets: Option<usize>,
    /// Mappings of plugin images.
    pub image_mappings: Option<usize>,
    /// Threads that have called a plugin and are alive.
    pub calling_threads: usize,
    /// Generations that answer calls.
    pub generations: usize,
    /// Generations that no longer answer and are still there.
    pub retained: usize,
}

impl Census {
    /// Counts what the process holds.
    pub(crate) fn take(generations: usize, retained: usize, images: Option<&Path>) -> Self {
        let process = Path::new("/proc/self");
        let maps = fs::read_to_string(process.join("maps")).ok();
        Self {
            // The descriptor of the directory itself is among them.
            descriptors: entries(&process.join("fd")).map(|count| count.saturating_sub(1)),
            threads: entries(&process.join("task")),
            children: children(process),
            mappings: maps.as_ref().map(|maps| maps.lines().count()),
            sockets: sockets(&process.join("fd")),
            image_mappings: maps.map(|maps| {
                let images = images.map(|images| format!(" {}/", images.display()));
                let is_image = |line: &&str| {
                    let in_file = images.as_ref().is_some_and(|images| line.contains(images));
                    in_file || line.contains("/memfd:plg ")
                };
                maps.lines().filter(is_image).count()
            }),
            calling_threads: thread::numbered(),
            generations,
            retained,
        }
    }
}

fn entries(directory: &Path) -> Option<usize> {
    Some(fs::read_dir(directory).ok()?.count())
}

fn sockets(descriptors: &Path) -> Option<usize> {
    let entries = fs::read_dir(descriptors).ok()?.flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    Some(
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count(),
    )
}

/// Every thread has its own children.
fn children(process: &Path) -> Option<usize> {
    let threads = fs::read_dir(process.join("task")).ok()?.flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    Some(lists.map(|list| list.split_whitespace().count()).sum())
}
