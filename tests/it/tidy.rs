//! The invariants of ARCHITECTURE.md, read off the sources and the dependency graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::support::workspace;

/// Where unsafe code may stand; ARCHITECTURE.md says why.
const UNSAFE: [&str; 16] = [
    "host/src/context/table.rs",
    "host/src/last_words/map.rs",
    "host/src/last_words/signals.rs",
    "host/src/loader/layout.rs",
    "host/src/loader/library.rs",
    "host/src/plugin/gate.rs",
    "host/src/sentinel/system.rs",
    "host/src/transport/builtin.rs",
    "host/src/transport/in_process.rs",
    "host/src/transport/process/before_exec.rs",
    "plugin-api/src/context.rs",
    "plugin-api/src/convert.rs",
    "plugin-api/src/export.rs",
    "plugin-api/src/hooks.rs",
    "plugin-api/src/memory.rs",
    "plugin-api/src/view.rs",
];

#[test]
fn the_plugin_api_has_no_dependency_by_default() {
    let metadata = metadata();
    let required: Vec<_> = package(&metadata, "plg-plugin-api")
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal && !dependency.optional)
        .map(|dependency| dependency.name.as_str())
        .collect();
    assert_eq!(required, [""; 0]);
    let default = package(&metadata, "plg-plugin-api").features.get("default");
    assert_eq!(default, None, "a default feature could bring one in");
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let ours: BTreeSet<_> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("plg-plugin-api", &[][..]),
        ("plg-packaging", &[]),
        ("plg-host", &["plg-packaging", "plg-plugin-api"]),
        ("plg", &["plg-host", "plg-packaging", "plg-plugin-api"]),
    ]);
    for (name, allowed) in allowed {
        for dependency in &package(&metadata, name).dependencies {
            let name_of = dependency.name.as_str();
            if dependency.kind == DependencyKind::Normal && ours.contains(name_of) {
                assert!(
                    allowed.contains(&name_of),
                    "`{name}` depends on `{name_of}`"
                );
            }
        }
    }
    for package in metadata.workspace_packages() {
        let on_tests = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == "plg-tests");
        assert!(!on_tests, "`{}` depends on the tests", package.name);
    }
}

#[test]
fn packaging_neither_connects_nor_loads() {
    for (path, text) in sources("packaging/src") {
        for word in ["std::net", "libloading", "std::process", "dlopen"] {
            assert!(!text.contains(word), "{path} names `{word}`");
        }
    }
    let metadata = metadata();
    for dependency in &package(&metadata, "plg-packaging").dependencies {
        let name = dependency.name.as_str();
        let known = [
            "blake2",
            "data-encoding",
            "ed25519-dalek",
            "flate2",
            "getrandom",
            "jiff",
            "schemars",
            "scrypt",
            "semver",
            "serde",
            "serde_json",
            "sha2",
            "tar",
            "thiserror",
            "zeroize",
        ];
        assert!(
            known.contains(&name),
            "`{name}` is new: does it connect or load?"
        );
    }
}

#[test]
fn nobody_else_reads_an_archive() {
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        if ["plg-packaging", "plg-tests"].contains(&name) {
            continue;
        }
        for dependency in &package.dependencies {
            let reads = ["flate2", "tar", "zip"].contains(&dependency.name.as_str());
            assert!(!reads, "`{name}` depends on `{}`", dependency.name);
        }
    }
}

#[test]
fn only_one_file_names_libloading() {
    let naming: Vec<_> = product_sources()
        .into_iter()
        .filter(|(_, text)| code_lines(text).any(|line| line.contains("libloading::")))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(naming, ["host/src/loader/library.rs"]);
}

#[test]
fn only_three_files_start_processes() {
    let starting: Vec<_> = product_sources()
        .into_iter()
        .filter(|(_, text)| code_lines(text).any(|line| line.contains("Command::new(")))
        .map(|(path, _)| path)
        .collect();
    let known = [
        "cli/src/crates.rs",
        "host/src/loader/probe.rs",
        "host/src/transport/process/launch.rs",
    ];
    assert_eq!(starting, known);
}

#[test]
fn only_one_file_of_the_store_writes() {
    let words = [
        "fs::write",
        "fs::rename",
        "fs::remove",
        "fs::create",
        "fs::copy",
        "fs::hard_link",
        "DirBuilder",
        "set_permissions",
        "sync_all",
        ".create(",
        ".create_new(",
        ".write(true)",
        ".append(",
        "File::create",
    ];
    for (path, text) in sources("host/src/store") {
        if path != "host/src/store/disk.rs" {
            for word in words {
                assert!(!text.contains(word), "{path} has `{word}`");
            }
        }
    }
}

#[test]
fn unsafe_code_stands_in_named_files() {
    let mut found = BTreeSet::new();
    for (path, text) in product_sources() {
        let is_macro_text = |line: &str| line.contains("#[unsafe(");
        let lines = code_lines(&text).filter(|line| !is_macro_text(line));
        if lines.into_iter().any(opens_unsafe) {
            found.insert(path);
        }
    }
    let named: BTreeSet<_> = UNSAFE.into_iter().map(str::to_owned).collect();
    assert_eq!(
        found, named,
        "the list in ARCHITECTURE.md and here must be the one truth"
    );
    let page = read("ARCHITECTURE.md");
    for path in UNSAFE {
        let file = path.rsplit('/').next().unwrap();
        assert!(
            page.contains(file),
            "ARCHITECTURE.md does not name `{file}`"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in product_sources() {
        let lines = text.lines().count();
        assert!(lines <= 600, "{path} has {lines} lines");
    }
}

#[test]
fn names_say_what_a_thing_is() {
    let banned = [
        "Manager", "Service", "Helper", "Util", "Common", "Impl", "Info", "Data",
    ];
    // The field of the manifest is the seed's word.
    let allowed = ["HttpServices"];
    for (path, text) in product_sources() {
        let stem = path.rsplit('/').next().unwrap().to_lowercase();
        for word in ["manager", "service", "helper", "util", "common"] {
            assert!(!stem.contains(word), "{path} is named after a `{word}`");
        }
        for line in code_lines(&text) {
            let words: Vec<_> = line
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .collect();
            for pair in words.windows(2) {
                let [keyword, name] = pair else { continue };
                if matches!(*keyword, "struct" | "enum" | "trait" | "type") {
                    let bad = banned.iter().any(|word| name.contains(word));
                    assert!(!bad || allowed.contains(name), "{path} defines `{name}`");
                }
                let getter = *keyword == "fn" && name.starts_with("get_");
                // The ABI's own function is called that, and one that the solver asks for.
                assert!(
                    !getter || ["get_interned", "get_dependencies"].contains(name),
                    "{path} defines `{name}`"
                );
            }
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let path = package.manifest_path.as_str();
        if path.contains("/tests/fixtures/") {
            continue;
        }
        let manifest = fs::read_to_string(path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path}");
    }
}

#[test]
fn the_gate_runs_what_the_readme_says() {
    let readme = read("README.md");
    let commands: Vec<_> = readme
        .lines()
        .filter(|line| line.starts_with("cargo test "))
        .collect();
    assert_eq!(commands, ["cargo test --workspace"]);
    assert!(readme.contains("cargo run -q -p plg -- call plugins/hello greet name=Ada"));
    assert!(read(".ci/run").contains("s/^\\(cargo test .*\\)$/\\1/p"));
}

#[test]
fn the_readme_shows_the_sample_as_it_is() {
    let sample = read("plugins/hello/src/lib.rs");
    let start = sample.find("use plg_plugin_api").unwrap();
    let end = sample.find("#[cfg(test)]").unwrap();
    assert!(read("README.md").contains(sample[start..end].trim_end()));
}

/// A fast hasher without a secret lets whoever chooses the keys choose where they collide. Each place that has one
/// says why nobody does.
#[test]
fn only_maps_whose_keys_nobody_chooses_have_a_fast_hasher() {
    const KNOWN: [(&str, &str); 2] = [
        // Seeded for each catalog, and the operator chose the names.
        ("host/src/catalog.rs", "foldhash::quality::RandomState"),
        // A share of calls and no map.
        ("host/src/plugin/canary.rs", "foldhash::quality::FixedState"),
    ];
    let fast = [
        "foldhash",
        "ahash",
        "fxhash",
        "rustc_hash",
        "FixedState",
        "BuildHasherDefault",
    ];
    let mut found = BTreeSet::new();
    for (path, text) in product_sources() {
        for line in text
            .lines()
            .filter(|line| line.trim_start().starts_with("use "))
        {
            if fast.iter().any(|word| line.contains(word)) {
                found.insert((path.clone(), line.trim().to_owned()));
            }
        }
    }
    let known = KNOWN.map(|(path, what)| (path.to_owned(), format!("use {what};")));
    assert_eq!(found, BTreeSet::from(known));
}

fn opens_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
        .iter()
        .any(|word| line.contains(word))
        // A type of function pointers runs nothing.
        && !line.trim_start().starts_with("pub type")
        && !(line.contains(": unsafe extern") || line.contains("<unsafe extern"))
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Sources of the four product crates and the sample plugins.
fn product_sources() -> Vec<(String, String)> {
    [
        "cli/src",
        "host/src",
        "packaging/src",
        "plugin-api/src",
        "plugins",
    ]
    .into_iter()
    .flat_map(sources)
    .collect()
}

/// Every Rust file below a directory, by path, but for files of tests.
fn sources(directory: &str) -> Vec<(String, String)> {
    let root = workspace();
    let mut directories = vec![root.join(directory)];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                files.push((relative(&path, &root), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "`{directory}` has no sources");
    files
}

fn relative(path: &Path, root: &PathBuf) -> String {
    path.strip_prefix(root).unwrap().display().to_string()
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(workspace())
        .no_deps()
        .exec()
        .unwrap()
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == name)
        .unwrap()
}
