//! What our reader accepts, GNU tar and Python read the same: every name, size and digest. The bundles come
//! from a generator with a seed: good ones of every shape, and others that had some bytes changed.
//!
//! `PLG_SEED=7` runs another lot, `PLG_CAMPAIGN=1` a hundred times as many.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use plg_packaging::Digest;
use plg_packaging::bundle::{Draft, Limits, MemberPath, Reader, Sink};
use plg_tests::archive::{self, BLOCK, Bundle, Entry, field, gzip, tar};

/// How many are good; as many more are spoiled and accepted all the same.
const GOOD: usize = 250;

/// What is in an archive: size and digest by name.
type Listing = BTreeMap<String, (u64, Digest)>;

#[test]
fn what_is_accepted_is_read_alike_by_others() {
    let campaign = std::env::var_os("PLG_CAMPAIGN").is_some();
    let seed = std::env::var("PLG_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("PLG_SEED={seed}");
    let oracles = Oracles::find();
    let rounds = if campaign { 100 } else { 1 };
    for round in 0..rounds {
        let mut random = Random(seed * 1000 + round + 1);
        let mut accepted = Vec::new();
        while accepted.len() < GOOD {
            let file = match random.chance(40) {
                true => random.packed(),
                false => random.wrapped(),
            };
            let listing = read(&file);
            let place = accepted.len();
            let listing = listing.unwrap_or_else(|code| panic!("good bundle {place}: {code}"));
            accepted.push((file, listing));
        }
        for _ in 0..5000 {
            let archive = random.bundle();
            let file = gzip(&random.spoiled(archive));
            if let Ok(listing) = read(&file) {
                accepted.push((file, listing));
            }
            if accepted.len() == 2 * GOOD {
                break;
            }
        }
        // Else the changes are all so coarse that they prove nothing.
        assert_eq!(accepted.len(), 2 * GOOD);
        oracles.check(&accepted, |place, listing| {
            let (file, ours) = &accepted[place];
            assert_eq!(
                listing,
                Some(ours),
                "bundle {place} of {round}: {}",
                file.escape_ascii()
            );
        });
    }
}

/// What our reader finds, or why it refuses.
fn read(file: &[u8]) -> Result<Listing, &'static str> {
    let mut all = All::default();
    let reader = Reader::open(file, &Limits::default()).map_err(|error| error.code())?;
    reader
        .unpack(|_| true, &mut all)
        .map_err(|error| error.code())?;
    Ok(all.0)
}

#[derive(Default)]
struct All(Listing);

impl Sink for All {
    type File = Vec<u8>;

    fn create(&mut self, _: &MemberPath, _: bool) -> std::io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn close(&mut self, path: &MemberPath, file: Vec<u8>) -> std::io::Result<()> {
        self.0.insert(path.to_string(), entry(&file));
        Ok(())
    }
}

fn entry(bytes: &[u8]) -> (u64, Digest) {
    (bytes.len() as u64, Digest::of(bytes))
}

/// The tools that are there.
struct Oracles {
    tar: bool,
    python: bool,
}

impl Oracles {
    #[expect(
        clippy::print_stdout,
        reason = "a comparison that is passed over says so"
    )]
    fn find() -> Self {
        let says = |program: &str, word: &str| {
            let output = Command::new(program).arg("--version").output();
            let is_there =
                output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(word));
            if !is_there {
                println!("not compared with {word}, which is not there");
            }
            is_there
        };
        Self {
            tar: says("tar", "GNU tar"),
            python: says("python3", "Python"),
        }
    }

    /// Shows what each of them reads of each file; `None` for one that it refuses.
    fn check(&self, files: &[(Vec<u8>, Listing)], mut judge: impl FnMut(usize, Option<&Listing>)) {
        let scratch = tempfile::tempdir().unwrap();
        for (place, (file, _)) in files.iter().enumerate() {
            fs::write(scratch.path().join(place.to_string()), file).unwrap();
        }
        if self.tar {
            // Each is a process; of those that nobody spoiled some are enough.
            for place in (0..files.len()).filter(|place| *place >= GOOD || place % 5 == 0) {
                judge(place, by_tar(scratch.path(), place).as_ref());
            }
        }
        if self.python {
            for (place, listing) in by_python(scratch.path(), files.len()).iter().enumerate() {
                judge(place, listing.as_ref());
            }
        }
    }
}

fn by_tar(scratch: &Path, place: usize) -> Option<Listing> {
    let root = scratch.join("out");
    fs::create_dir(&root).unwrap();
    let status = Command::new("tar")
        .args(["--no-same-owner", "-xzf"])
        .arg(scratch.join(place.to_string()))
        .arg("-C")
        .arg(&root)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let mut listing = Listing::new();
    for found in walkdir::WalkDir::new(&root) {
        let found = found.unwrap();
        if !found.file_type().is_dir() {
            let name = found.path().strip_prefix(&root).unwrap().to_str().unwrap();
            listing.insert(name.to_owned(), entry(&fs::read(found.path()).unwrap()));
        }
    }
    fs::remove_dir_all(&root).unwrap();
    status.success().then_some(listing)
}

fn by_python(scratch: &Path, count: usize) -> Vec<Option<Listing>> {
    const SCRIPT: &str = r#"
import hashlib, json, sys, tarfile
for place in range(int(sys.argv[2])):
    try:
        entries = {}
        with tarfile.open(f"{sys.argv[1]}/{place}", "r:gz") as archive:
            for member in archive:
                data = archive.extractfile(member).read() if member.isreg() else b"?"
                assert member.name not in entries
                entries[member.name] = [len(data), hashlib.sha256(data).hexdigest()]
        print(json.dumps(entries))
    except Exception:
        print("null")
"#;
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(scratch)
        .arg(count.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let listings: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listings.len(), count);
    listings
}

/// A generator whose numbers come from its seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn bytes(&mut self) -> Vec<u8> {
        let size = match self.below(4) {
            0 => self.below(4),
            1 => (BLOCK + self.below(3)) - 1,
            _ => self.below(2000),
        };
        let byte = self.next() as u8;
        (0..size)
            .map(|at| byte.wrapping_add((at / 7) as u8))
            .collect()
    }

    fn name(&mut self) -> String {
        const LETTERS: &[u8] = b"abcXYZ019_-.";
        let longest = if self.chance(20) { 60 } else { 9 };
        let length = 1 + self.below(longest);
        let mut name: String = (0..length)
            .map(|_| char::from(LETTERS[self.below(LETTERS.len())]))
            .collect();
        name.insert(0, 'n');
        name.push('e');
        name
    }

    fn path(&mut self) -> String {
        let mut path = match self.chance(70) {
            true => "assets".to_owned(),
            false => "lib/x86_64-unknown-linux-gnu".to_owned(),
        };
        for _ in 0..=self.below(4) {
            let name = self.name();
            if path.len() + name.len() < 200 {
                path += "/";
                path += &name;
            }
        }
        path
    }

    /// Members that can stand in one bundle, by their path as it is without capitals.
    fn members(&mut self) -> BTreeMap<String, (String, Vec<u8>)> {
        let mut members: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
        for _ in 0..self.below(12) {
            let path = self.path();
            members.insert(path.to_lowercase(), (path, self.bytes()));
        }
        // A file cannot stand where another needs a directory, in whatever capitals.
        let folded: Vec<String> = members.keys().cloned().collect();
        members.retain(|path, _| {
            !folded
                .iter()
                .any(|other| other.starts_with(&format!("{path}/")))
        });
        let mut directories = BTreeMap::new();
        members.retain(|_, (path, _)| {
            path.match_indices('/').all(|(end, _)| {
                let directory = &path[..end];
                let spelling = directories.entry(directory.to_lowercase());
                spelling.or_insert_with(|| directory.to_owned()) == directory
            })
        });
        members
    }

    /// A good bundle as our writer makes it.
    fn packed(&mut self) -> Vec<u8> {
        let mut draft = Draft::new(archive::manifest()).unwrap();
        for (path, bytes) in self.members().into_values() {
            draft.file(MemberPath::new(&path).unwrap(), bytes, self.chance(20));
        }
        let signature = self.chance(50).then(|| self.bytes());
        let plan = draft.plan(&Limits::default(), &mut |_| ()).unwrap();
        let mut file = Vec::new();
        plan.write(&mut file, signature.as_deref(), &mut |_| ())
            .unwrap();
        file
    }

    /// The archive of a good bundle.
    fn bundle(&mut self) -> Vec<u8> {
        if self.chance(30) {
            return self.plain();
        }
        let mut bundle = Bundle::new(self.members().into_values());
        if self.chance(50) {
            bundle.signature = Some(self.bytes());
        }
        let entries: Vec<_> = bundle
            .entries()
            .into_iter()
            .map(|entry| self.dressed(entry))
            .collect();
        tar(&entries)
    }

    fn plain(&mut self) -> Vec<u8> {
        let is_gnu = self.chance(50);
        let library = format!("{}.so", self.name());
        let mut entries = [
            Entry::new("plugin.json", archive::manifest()),
            Entry::new(library, self.bytes()),
        ];
        for entry in &mut entries {
            *entry = self.dressed(entry.clone());
            if is_gnu {
                *entry = entry.clone().gnu();
            }
        }
        let mut bytes = tar(&entries);
        if self.chance(50) {
            bytes.resize(bytes.len().next_multiple_of(20 * BLOCK), 0);
        }
        bytes
    }

    /// The same entry with fields that nobody looks at as another tool may have written them.
    fn dressed(&mut self, entry: Entry) -> Entry {
        let entry = entry
            .with(field::TIME, format!("{:011o}\0", self.below(2_000_000_000)))
            .with(field::OWNER, format!("{:06o} \0", self.below(65_535)))
            .with(field::GROUP, format!("{:07o} ", self.below(65_535)))
            .with(265..297, &b"somebody"[..self.below(9)]);
        if self.chance(50) {
            let size = format!("{:o}", entry.body.len());
            return entry.with(field::SIZE, [0; 12]).with(field::SIZE, size);
        }
        entry
    }

    /// A good bundle written by hand, with a name in its gzip header as often as not.
    fn wrapped(&mut self) -> Vec<u8> {
        let mut file = gzip(&self.bundle());
        if self.chance(50) {
            file[3] |= 8;
            file.splice(10..10, b"hello.tar\0".iter().copied());
        }
        file
    }

    /// An archive with something changed in its headers, whose checksums are made right again most times.
    fn spoiled(&mut self, mut archive: Vec<u8>) -> Vec<u8> {
        let headers: Vec<usize> = (0..archive.len())
            .step_by(BLOCK)
            .filter(|at| archive[at + 257..].starts_with(b"ustar"))
            .collect();
        for _ in 0..=self.below(2) {
            let at = headers[self.below(headers.len())];
            let fields = [
                field::NAME,
                field::OWNER,
                field::GROUP,
                field::SIZE,
                field::TIME,
                field::KIND,
                field::LINK,
                field::MAGIC,
                265..297,
                297..329,
                field::MAJOR,
                field::PREFIX,
                field::REST,
            ];
            let range = fields[self.below(fields.len())].clone();
            let place = at + range.start + self.below(range.len());
            archive[place] = match self.below(5) {
                0 => 0,
                1 => b' ',
                2 => b'0' + self.below(10) as u8,
                3 => b"/.Lxg57S-"[self.below(9)],
                _ => self.next() as u8,
            };
            if self.chance(85) {
                let mut entry = Entry {
                    header: [0; BLOCK],
                    body: Vec::new(),
                };
                entry.header.copy_from_slice(&archive[at..at + BLOCK]);
                archive[at..at + BLOCK].copy_from_slice(&entry.sum().header);
            }
        }
        if self.chance(5) {
            let at = self.below(archive.len() / BLOCK) * BLOCK;
            archive.splice(at..at, [0; BLOCK]);
        }
        archive
    }
}
