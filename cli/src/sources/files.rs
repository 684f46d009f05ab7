//! The files that a plugin is made of, and which of them changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plg_packaging::Digest;

use crate::crates::Origins;

/// The files below some directories, as they were when they were looked at last.
pub(super) struct Sources {
    roots: Vec<PathBuf>,
    /// Single files outside them.
    files: Vec<PathBuf>,
    /// What cargo makes; `None` where another tool puts what it makes beside the sources.
    target: Option<PathBuf>,
    known: BTreeMap<PathBuf, Stamp>,
    /// Where a change of one of the files shows.
    directories: BTreeSet<PathBuf>,
}

/// When a file counts as changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// Whenever it was written: who saves a file wants to see something.
    Writing,
    /// When there is something else in it, if it was written before a build ended at this time: a build
    /// may write what it wrote before.
    Contents(SystemTime),
}

#[derive(Clone, Debug)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    number: u64,
    /// Of what is in it, unless it is too large to be read each time.
    digest: Option<Digest>,
}

/// Files up to this size are compared by what is in them.
const READ: u64 = 1 << 20;

/// How files end that a compiler makes.
const MADE: [&str; 5] = [".so", ".o", ".a", ".d", ".gch"];

/// Cargo marks what it makes with a file of this name, as other tools do.
const TAG: &str = "CACHEDIR.TAG";

impl Sources {
    /// The files of these origins. Nothing is looked at yet.
    pub(super) fn of(origins: Origins) -> Self {
        let mut sources = Self {
            roots: Vec::new(),
            files: Vec::new(),
            target: None,
            known: BTreeMap::new(),
            directories: BTreeSet::new(),
        };
        sources.become_of(origins);
        sources
    }

    /// Takes other origins for the same plugin.
    pub(super) fn become_of(&mut self, origins: Origins) {
        self.roots = origins.directories;
        self.files = origins.workspace.into_iter().collect();
        self.target = origins.target;
    }

    /// The directories in which a change of a file shows: all that have one, and above.
    pub(super) fn directories(&self) -> &BTreeSet<PathBuf> {
        &self.directories
    }

    /// Whether something that happened to `path` can be of interest.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        if self.files.iter().any(|file| file == path) {
            return true;
        }
        self.roots.iter().any(|root| {
            path.strip_prefix(root)
                .is_ok_and(|below| below.as_os_str().is_empty() || !self.is_ignored(path, root))
        })
    }

    /// Looks at all files. Returns those that came, went or changed since, in order.
    pub(super) fn scan(&mut self, by: By) -> Vec<PathBuf> {
        let before = std::mem::take(&mut self.known);
        self.directories.clear();
        for root in self.roots.clone() {
            self.enter(&root, &root, &before);
        }
        for file in self.files.clone() {
            if let Ok(metadata) = fs::metadata(&file) {
                self.note(file, &metadata, &before);
            }
        }
        let above = self.roots.iter().chain(&self.files);
        let above = above.filter_map(|path| path.parent());
        self.directories.extend(above.map(Path::to_owned));
        let is_new = |(path, stamp): &(&PathBuf, &Stamp)| {
            let before = before.get(*path);
            before.is_none_or(|before| before.differs(stamp, by))
        };
        let changed = self.known.iter().filter(is_new).map(|(path, _)| path);
        let gone = before.keys().filter(|path| !self.known.contains_key(*path));
        let all: BTreeSet<&PathBuf> = changed.chain(gone).collect();
        all.into_iter().cloned().collect()
    }

    fn enter(&mut self, directory: &Path, root: &Path, before: &BTreeMap<PathBuf, Stamp>) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        // One root may lie in another.
        if !self.directories.insert(directory.to_owned()) {
            return;
        }
        for entry in entries.flatten() {
            let path = entry.path();
            if self.is_ignored(&path, root) {
                continue;
            }
            // A link counts as what it leads to, unless that is a directory: there may be a circle.
            let (Ok(kind), Ok(metadata)) = (entry.file_type(), fs::metadata(&path)) else {
                continue;
            };
            if kind.is_dir() {
                if !path.join(TAG).exists() {
                    self.enter(&path, root, before);
                }
            } else if metadata.is_file() {
                self.note(path, &metadata, before);
            }
        }
    }

    fn note(&mut self, path: PathBuf, metadata: &Metadata, before: &BTreeMap<PathBuf, Stamp>) {
        let mut stamp = Stamp {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            number: metadata.ino(),
            digest: None,
        };
        stamp.digest = match before.get(&path) {
            Some(before) if !before.differs(&stamp, By::Writing) => before.digest,
            _ if stamp.length <= READ => fs::read(&path).ok().map(|bytes| Digest::of(&bytes)),
            _ => None,
        };
        self.known.insert(path, stamp);
    }

    /// Whether no source has this path, which is below `root`.
    fn is_ignored(&self, path: &Path, root: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_made = match &self.target {
            // Cargo writes its lock file while it builds, and the build is as new as that then.
            Some(target) => {
                let is_target = path.parent() == Some(root) && name == "target";
                path == target || is_target || name == "Cargo.lock"
            }
            None => MADE.iter().any(|end| name.ends_with(end)),
        };
        is_made || is_scratch(&name)
    }
}

impl Stamp {
    fn differs(&self, now: &Self, by: By) -> bool {
        let is_written =
            (self.length, self.modified, self.number) != (now.length, now.modified, now.number);
        match (by, &self.digest, &now.digest) {
            (By::Contents(built), Some(before), Some(digest)) if now.modified <= Some(built) => {
                before != digest
            }
            _ => is_written,
        }
    }
}

/// Whether it is hidden, or editors call files so that are not there to stay.
fn is_scratch(name: &str) -> bool {
    const ENDS: [&str; 5] = ["~", ".tmp", ".bak", "___jb_tmp___", "___jb_old___"];
    let is_backup = name.starts_with('#') && name.ends_with('#');
    // Vim writes this one to see whether it can.
    let is_trial = name == "4913";
    name.starts_with('.') || is_backup || is_trial || ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use super::{By, Sources};
    use crate::crates::Origins;

    /// A directory of this test alone, which goes with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("plg-sources-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("src/target")).unwrap();
            Self(path)
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn sources(&self) -> Sources {
            Sources::of(Origins {
                directories: vec![self.0.clone()],
                workspace: None,
                target: Some(self.0.join("out")),
            })
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(paths: &[PathBuf], root: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        paths.iter().map(name).collect()
    }

    #[test]
    fn what_nobody_wrote_by_hand_is_no_source() {
        let scratch = Scratch::new("names");
        for file in [
            "Cargo.toml",
            "src/lib.rs",
            "src/target/mod.rs",
            "data/model.bin",
            "target/debug/x.rs",
            "out/x.rs",
            "built/CACHEDIR.TAG",
            "built/x.rs",
            ".git/HEAD",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "src/#lib.rs#",
            "src/4913",
            "Cargo.lock",
        ] {
            scratch.write(file, "");
        }
        let mut sources = scratch.sources();
        let found = names(&sources.scan(By::Writing), &scratch.0);
        let expected = [
            "Cargo.toml",
            "data/model.bin",
            "src/lib.rs",
            "src/target/mod.rs",
        ];
        assert_eq!(found, expected);
        assert!(sources.concerns(&scratch.0.join("src/new.rs")));
        assert!(!sources.concerns(&scratch.0.join("target")));
        assert!(!sources.concerns(&scratch.0.join("src/.new.rs.swp")));
        assert!(!sources.concerns(Path::new("/elsewhere/lib.rs")));
    }

    #[test]
    fn the_same_words_written_again_count_unless_a_build_wrote_them() {
        let scratch = Scratch::new("again");
        scratch.write("src/lib.rs", "one");
        scratch.write("src/gone.rs", "one");
        let mut sources = scratch.sources();
        sources.scan(By::Writing);
        assert!(sources.scan(By::Writing).is_empty());

        let rewrite = |seconds: u64| {
            let file = scratch.0.join("src/lib.rs");
            let file = fs::File::options().append(true).open(file).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(at).unwrap();
        };
        rewrite(1);
        assert_eq!(
            names(&sources.scan(By::Writing), &scratch.0),
            ["src/lib.rs"]
        );
        let at = |seconds| By::Contents(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        rewrite(2);
        assert!(sources.scan(at(2)).is_empty());
        rewrite(4);
        assert_eq!(names(&sources.scan(at(3)), &scratch.0), ["src/lib.rs"]);
        scratch.write("src/lib.rs", "two");
        fs::remove_file(scratch.0.join("src/gone.rs")).unwrap();
        scratch.write("src/new.rs", "one");
        let all = ["src/gone.rs", "src/lib.rs", "src/new.rs"];
        assert_eq!(
            names(&sources.scan(By::Contents(SystemTime::now())), &scratch.0),
            all
        );
    }
}
