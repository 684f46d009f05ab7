//! What packing, unpacking and listing a bundle cost, against `tar` and `gzip` on the same tree.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plg_packaging::bundle::pack::Packed;
use plg_packaging::bundle::{Directory, Draft, Limits, MemberPath, Reader, Target};
use plg_tests::bench::{Bench, once};
use plg_tests::fixtures::{Variant, library};
use plg_tests::workspace;
use walkdir::WalkDir;

const MANIFEST: &str = r#"{ "name": "large", "version": "1.0.0" }"#;
/// The argument of a run that only says how much memory the work that follows took.
const PEAK: &str = "--peak-of";

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == PEAK) {
        return print_peak(&arguments[place + 1], Path::new(&arguments[place + 2]));
    }
    let mut bench = Bench::new("bundle");
    // All of it only where it is measured and not just run.
    let megabytes = bench.rounds(100);
    // In memory where that can be: to make a file costs as much on a disk as all the rest, whoever makes it.
    let memory = Path::new("/dev/shm");
    let base = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let base = base.expect("a directory can be made");
    let tree = Tree::new(base.path(), megabytes);
    packing(&mut bench, &tree);
    unpacking(&mut bench, &tree);
    listing(&mut bench, &tree);
    peaks(&mut bench, base.path(), megabytes);
    bench.print();
}

/// A directory with files, and what is made of it.
struct Tree {
    root: PathBuf,
    megabytes: usize,
}

impl Tree {
    /// Two thirds libraries, a quarter text, and the rest bytes that do not shrink; always the same ones of the same
    /// workspace.
    fn new(base: &Path, megabytes: usize) -> Self {
        let root = base.join(format!("tree-{megabytes}"));
        let bytes = megabytes << 20;
        let libraries = libraries();
        fill(
            &root.join("assets/lib"),
            bytes * 2 / 3,
            libraries.iter().map(PathBuf::as_path),
        );
        let sources = sources();
        fill(
            &root.join("assets/text"),
            bytes / 4,
            sources.iter().map(PathBuf::as_path),
        );
        fs::write(
            root.join("assets/noise"),
            noise(bytes - bytes * 2 / 3 - bytes / 4),
        )
        .expect("a file can be written");
        Self { root, megabytes }
    }

    fn bundle(&self) -> PathBuf {
        self.root.with_extension("plg")
    }

    fn archive(&self) -> PathBuf {
        self.root.with_extension("tar.gz")
    }
}

/// Copies of all `files` in turn, under names of their own, until that many bytes are there.
fn fill<'a>(directory: &Path, bytes: usize, files: impl Iterator<Item = &'a Path> + Clone) {
    fs::create_dir_all(directory).expect("a directory can be made");
    let mut left = bytes;
    for (number, file) in files.cycle().enumerate() {
        let mut content = fs::read(file).expect("a file can be read");
        content.truncate(left);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{number}-{}", name.trim_start_matches('.'));
        fs::write(directory.join(name), &content).expect("a file can be written");
        left -= content.len();
        if left == 0 {
            return;
        }
    }
}

/// With what a debug build has, and without.
fn libraries() -> Vec<PathBuf> {
    let packages = ["hello", "counter", "text", "fixture-good", "fixture-bad"];
    let variants = [Variant::Debug, Variant::Release];
    let each = |package| variants.map(|variant| library(package, variant));
    packages.into_iter().flat_map(each).collect()
}

/// The sources of this workspace. The smallest would make more members than a bundle may have.
fn sources() -> Vec<PathBuf> {
    let root = workspace();
    let parts = ["cli", "host", "packaging", "plugin-api", "tests"];
    let walk = |part: &str| WalkDir::new(root.join(part)).sort_by_file_name();
    let files = parts
        .iter()
        .flat_map(|part| walk(part).into_iter().filter_map(Result::ok));
    files
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "rs")
        })
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 9000))
        .map(|entry| entry.into_path())
        .collect()
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn packing(bench: &mut Bench, tree: &Tree) {
    const TAR: &str = "tar czf";
    let theirs = || once(|| tar(&tree.root, &["-czf", text(&tree.archive()), "assets"])).0;
    let ours = |threads| once(|| pack(&tree.root, &tree.bundle(), threads)).0;
    let name = format!("pack {} MB", tree.megabytes);
    bench.compare((&name, 0.2), 7, || ours(None), TAR, theirs);
    let name = format!("pack {} MB on 1 thread", tree.megabytes);
    bench.compare(
        (&name, 0.4),
        5,
        || ours(Some(NonZeroUsize::MIN)),
        TAR,
        theirs,
    );
    // Whichever rows were asked for, the others need both files.
    let (time, packed) = once(|| pack(&tree.root, &tree.bundle(), None));
    theirs();
    let archive = fs::metadata(tree.archive()).map_or(0, |metadata| metadata.len());
    let name = "size of the bundle";
    if bench.wants(name) {
        bench.absolute(
            (name, Duration::from_secs(1)),
            vec![time],
            [
                ("bytes packed", packed.packed_bytes),
                ("bytes by tar czf", archive),
                (
                    "tenths of a percent of that",
                    packed.packed_bytes * 1000 / archive.max(1),
                ),
            ],
        );
    }
}

fn unpacking(bench: &mut Bench, tree: &Tree) {
    let out = tree.root.with_extension("out");
    let clear = || fs::remove_dir_all(&out).expect("the directory can be removed");
    let name = format!("check and unpack {} MB", tree.megabytes);
    bench.compare(
        (&name, 0.5),
        7,
        || {
            let (time, ()) = once(|| unpack(&tree.bundle(), &out));
            clear();
            time
        },
        "tar xzf",
        || {
            fs::create_dir(&out).expect("a directory can be made");
            let (time, ()) = once(|| tar(&out, &["-xzf", text(&tree.archive())]));
            clear();
            time
        },
    );
    let name = format!("check {} MB", tree.megabytes);
    bench.compare(
        (&name, 1.0),
        7,
        || {
            let reader = || Reader::open(open(&tree.bundle()), &Limits::default());
            let (time, checked) = once(|| reader().and_then(Reader::verify));
            checked.unwrap_or_else(|error| panic!("{error}"));
            time
        },
        "gzip -t",
        || {
            let gzip = || Command::new("gzip").arg("-t").arg(tree.archive()).status();
            let (time, status) = once(gzip);
            assert!(status.is_ok_and(|status| status.success()));
            time
        },
    );
}

/// What `plg inspect` does: the head is enough.
fn listing(bench: &mut Bench, tree: &Tree) {
    const NAME: &str = "list the members";
    if !bench.wants(NAME) {
        return;
    }
    let read = AtomicU64::new(0);
    let mut times = Vec::new();
    let mut members = 0;
    for _ in 0..bench.rounds(101) {
        read.store(0, Ordering::Relaxed);
        let counting = Counting(open(&tree.bundle()), &read);
        let (time, reader) = once(|| Reader::open(counting, &Limits::default()));
        let reader = reader.unwrap_or_else(|error| panic!("{error}"));
        let listed = reader.head().listed.as_ref();
        members = listed.map_or(0, |listed| listed.contents.members.len());
        times.push(time);
    }
    let size = fs::metadata(tree.bundle()).map_or(0, |metadata| metadata.len());
    bench.absolute(
        (NAME, Duration::from_millis(20)),
        times,
        [
            ("members", members as u64),
            ("bytes read", read.load(Ordering::Relaxed)),
            ("bytes in all", size),
        ],
    );
}

struct Counting<'a>(File, &'a AtomicU64);

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// How much memory a process has at most that packs or unpacks a small and a large tree.
fn peaks(bench: &mut Bench, base: &Path, megabytes: usize) {
    const NAME: &str = "peak memory";
    if !bench.wants(NAME) {
        return;
    }
    let small = Tree::new(base, megabytes.div_ceil(10));
    let large = Tree::new(base, megabytes);
    let peak = |work: &str, tree: &Tree| {
        let myself = env::current_exe().expect("a program knows its path");
        let run = Command::new(myself)
            .args([PEAK, work, text(&tree.root)])
            .output();
        let text = String::from_utf8(run.expect("it runs").stdout).unwrap_or_default();
        text.trim().parse().expect("it prints a number")
    };
    let (time, counts) = once(|| {
        [
            ("KiB to do nothing", peak("nothing", &small)),
            ("KiB to pack the small one", peak("pack", &small)),
            ("KiB to pack the large one", peak("pack", &large)),
            ("KiB to unpack the small one", peak("unpack", &small)),
            ("KiB to unpack the large one", peak("unpack", &large)),
        ]
    });
    bench.absolute((NAME, Duration::from_secs(10)), vec![time], counts);
}

fn print_peak(work: &str, root: &Path) {
    let bundle = root.with_extension("plg");
    match work {
        "pack" => drop(pack(root, &bundle, None)),
        "unpack" => {
            let out = root.with_extension("out");
            unpack(&bundle, &out);
            fs::remove_dir_all(out).expect("the directory can be removed");
        }
        _ => {}
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.split_whitespace().next());
    plg_tests::bench::say(peak.unwrap_or("0"));
}

fn pack(root: &Path, bundle: &Path, threads: Option<NonZeroUsize>) -> Packed {
    let mut draft =
        Draft::new(MANIFEST.as_bytes().to_vec()).unwrap_or_else(|error| panic!("{error}"));
    draft
        .library(
            Target::current(),
            "liblarge.so",
            b"stands for the library".to_vec(),
        )
        .unwrap_or_else(|error| panic!("{error}"));
    for entry in WalkDir::new(root).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let name = MemberPath::new(text(name)).unwrap_or_else(|error| panic!("{error}"));
            draft.file(name, entry.into_path(), false);
        }
    }
    let plan = draft.plan(&Limits::default(), &mut |_| {});
    let mut plan = plan.unwrap_or_else(|error| panic!("{error}"));
    if let Some(threads) = threads {
        plan = plan.threads(threads);
    }
    let out = BufWriter::new(File::create(bundle).expect("a file can be made"));
    let packed = plan.write(out, None, &mut |_| {});
    packed.unwrap_or_else(|error| panic!("{error}"))
}

fn unpack(bundle: &Path, out: &Path) {
    let reader = Reader::open(open(bundle), &Limits::default());
    let reader = reader.unwrap_or_else(|error| panic!("{error}"));
    let mut directory = Directory::create(out).expect("a directory can be made");
    let unpacked = reader.unpack(|_| true, &mut directory);
    unpacked.unwrap_or_else(|error| panic!("{error}"));
    directory.finish();
}

fn tar(directory: &Path, arguments: &[&str]) {
    let status = Command::new("tar")
        .args(arguments)
        .current_dir(directory)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "tar failed");
}

fn open(path: &Path) -> File {
    File::open(path).expect("the bundle can be opened")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is a text")
}
