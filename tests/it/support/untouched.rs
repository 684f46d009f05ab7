//! What a refused install must leave behind: nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What there was before, to be compared with what there is after.
#[derive(Debug)]
pub(crate) struct Untouched {
    root: PathBuf,
    files: Files,
    process: Option<Process>,
    start: Instant,
}

/// The kind, mode and bytes of every path.
type Files = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// What the process holds.
#[derive(Debug)]
struct Process {
    descriptors: usize,
    threads: usize,
    children: usize,
    mappings: usize,
    sockets: usize,
    resident: u64,
}

/// How long a refusal may take.
const TIME: Duration = Duration::from_secs(2);
/// By how many bytes the process may grow.
const MEMORY: u64 = 64 << 20;

impl Untouched {
    /// Takes the measure of all that lies below `root`, a store and what is around it.
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: files(root),
            process: None,
            start: Instant::now(),
        }
    }

    /// Takes that of the process as well, for tests in a process of their own.
    pub(crate) fn with_process(mut self) -> Self {
        self.process = Some(Process::take());
        self.start = Instant::now();
        self
    }

    /// Nothing is new, gone or another; for a process of its own, nothing is held and it did not take too long.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) {
        let time = self.start.elapsed();
        let now = files(&self.root);
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&now), names(&self.files), "{what}");
        for (path, file) in &now {
            assert!(
                self.files[path] == *file,
                "{what}: `{}` changed",
                path.display()
            );
        }
        let staging = now.keys().filter(|path| {
            path.parent()
                .is_some_and(|parent| parent.ends_with("staging"))
        });
        assert_eq!(
            staging.collect::<Vec<_>>(),
            [""; 0].map(Path::new),
            "{what}"
        );
        if let Some(before) = &self.process {
            assert!(time < TIME, "{what}: it took {time:?}");
            before.check(&Process::take(), what);
        }
    }
}

impl Process {
    fn take() -> Self {
        let count = |directory: &str| fs::read_dir(directory).unwrap().count();
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        let is_socket = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
        let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
        let children =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let is_library = |line: &&str| line.contains(".so") || line.contains("/memfd:");
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: children.map(|list| list.split_whitespace().count()).sum(),
            mappings: maps.lines().filter(is_library).count(),
            sockets: targets.filter(is_socket).count(),
            resident: resident * 4096,
        }
    }

    #[track_caller]
    fn check(&self, now: &Self, what: &str) {
        let held = |process: &Self| {
            [
                process.descriptors,
                process.children,
                process.mappings,
                process.sockets,
            ]
        };
        assert_eq!(held(now), held(self), "{what}: {now:?}, before {self:?}");
        // One that is on its way out is counted for a moment longer.
        super::wait_until("no thread is left", || Self::take().threads <= self.threads);
        let grown = now.resident.saturating_sub(self.resident);
        assert!(grown < MEMORY, "{what}: {grown} bytes more");
    }
}

/// Every path below `root`. Locks, which have no bytes, may come and go.
pub(crate) fn files(root: &Path) -> Files {
    let mut files = Files::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().to_owned();
        let is_lock = path.file_name().is_some_and(|name| name == "lock")
            || path
                .parent()
                .is_some_and(|parent| parent.ends_with("in-use"));
        if is_lock {
            continue;
        }
        let metadata = entry.path().symlink_metadata().unwrap();
        let bytes = match metadata.is_file() {
            true => fs::read(entry.path()).unwrap(),
            false => Vec::new(),
        };
        files.insert(path, (metadata.mode(), bytes));
    }
    files
}
