//! Which plugins there are below a directory, and what is passed over with a reason.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use plg_host::{Builder, Discovery, Host, MANIFEST, Unloaded};
use plg_tests::isolated;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::support::plugins::{copy, host, loaded, named, number, refused};
use crate::support::process::become_nobody;

/// The ways in which plugins lie about: a directory whose manifest names the library, directories with
/// the names that cargo and make give it, and a library alone, with its manifest in it or without.
#[test]
fn every_layout_is_found_and_loads() {
    let base = Base::new();
    let source = r#","source":{"mode":"local_so","path":"so/any-name.so"}"#;
    fs::create_dir_all(base.path("by-source/so")).unwrap();
    base.manifest("by-source", source);
    copy(
        &named("by-source", 1),
        &base.path("by-source/so"),
        "any-name.so",
    );
    base.plugin("by-cargo", "libby_cargo.so", 2);
    base.plugin("by-make", "by-make.so", 3);
    copy(&named("bare", 4), base.directory(), "whatever.so");
    let plain = loaded(&["NAME=\"Plain_Note\"", "MANIFEST=\"\"", "BUILD=5"]);
    copy(&plain, base.directory(), "plain.so");

    let expected = ["by-cargo", "by-make", "by-source", "plain-note", "bare"];
    let found = base.discover();
    assert_eq!(names(&found), expected);
    assert_eq!(problems(&found), []);
    let alone: Vec<bool> = found
        .candidates
        .iter()
        .map(|found| found.directory.is_none())
        .collect();
    assert_eq!(alone, [false, false, false, true, true]);

    let host = base.host(Host::builder());
    let report = host.load_all().unwrap();
    assert_eq!(report.failed.len(), 0, "{:?}", report.failed);
    let builds: Vec<i64> = report
        .loaded
        .iter()
        .map(|plugin| number(plugin, "build"))
        .collect();
    // What nothing depends on is loaded by name.
    assert_eq!(builds, [4, 2, 3, 1, 5]);
    // Again is no error and loads nothing twice.
    assert_eq!(host.load_all().unwrap().loaded.len(), 5);
    assert_eq!(host.census().generations, 5);
}

/// Each of them can be given by name as well, and so can an upgrade.
#[test]
fn a_plugin_is_loaded_and_upgraded_by_its_directory() {
    let base = Base::new();
    base.plugin("greeter", "libgreeter.so", 1);
    let host = host();
    let plugin = host.load(base.path("greeter")).unwrap();
    assert_eq!(number(&plugin, "build"), 1);
    copy(&named("greeter", 2), &base.path("greeter"), "libgreeter.so");
    let upgraded = host.upgrade("greeter", base.path("greeter")).unwrap();
    assert_eq!(upgraded.retired, Unloaded::Unmapped);
    assert_eq!(number(&plugin, "build"), 2);
}

#[test]
fn one_bad_plugin_never_stops_the_others() {
    let base = Base::new();
    base.plugin("alpha", "libalpha.so", 1);
    base.plugin("omega", "libomega.so", 9);
    base.manifest("empty", "");
    fs::create_dir(base.path("no-json")).unwrap();
    fs::write(base.path("no-json").join(MANIFEST), "{").unwrap();
    base.manifest("wrong-name", "");
    fs::rename(base.path("wrong-name"), base.path("other-name")).unwrap();
    base.manifest("gone", r#","source":{"mode":"local_so","path":"gone.so"}"#);
    base.manifest(
        "escape",
        r#","source":{"mode":"local_so","path":"../alpha/libalpha.so"}"#,
    );
    base.manifest("cut", "");
    let library = copy(&named("cut", 1), &base.path("cut"), "cut.so");
    File::options()
        .write(true)
        .open(library)
        .unwrap()
        .set_len(5000)
        .unwrap();
    base.manifest("liar", "");
    copy(&named("other", 1), &base.path("liar"), "liar.so");
    base.manifest("foreign", "");
    copy(
        &library_of_another_abi(),
        &base.path("foreign"),
        "foreign.so",
    );
    base.manifest("refuses", "");
    copy(
        &loaded(&["NAME=\"refuses\"", "INIT_REFUSE"]),
        &base.path("refuses"),
        "refuses.so",
    );
    fs::write(base.path("bare.so"), "no library").unwrap();
    // None of these looks like a plugin.
    fs::create_dir(base.path("notes")).unwrap();
    fs::create_dir(base.path(".hidden")).unwrap();
    fs::write(base.path(".hidden").join(MANIFEST), "{").unwrap();
    fs::write(base.path("README.md"), "text").unwrap();
    fs::write(base.path(".cut.so"), "a copy that is not complete").unwrap();

    let host = base.host(Host::builder());
    let report = host.load_all().unwrap();
    let loaded: Vec<&str> = report.loaded.iter().map(|plugin| plugin.name()).collect();
    assert_eq!(loaded, ["alpha", "omega"]);
    let mut failed: Vec<&str> = report.failed.iter().map(|error| error.code()).collect();
    failed.sort_unstable();
    let mut expected = [
        "dir.no_library",
        "manifest.json",
        "manifest.identity",
        "io.not_found",
        "manifest.path",
        "native.corrupt",
        "manifest.identity",
        "abi.mismatch",
        "native.init",
        "native.format",
    ];
    expected.sort_unstable();
    assert_eq!(failed, expected);
    assert_eq!(number(&report.loaded[1], "build"), 9);
}

#[test]
fn a_directory_that_is_missing_is_a_problem_and_not_the_end() {
    let base = Base::new();
    base.plugin("here", "here.so", 1);
    let later = base.path("later");
    let host = base.host(Host::builder().plugin_dir(&later));
    let report = host.load_all().unwrap();
    assert_eq!(report.loaded.len(), 1);
    let codes: Vec<&str> = report.failed.iter().map(|error| error.code()).collect();
    assert_eq!(codes, ["io.not_found"]);
    assert!(report.failed[0].to_string().contains("later"));
    fs::create_dir(&later).unwrap();
    copy(&named("late", 2), &later, "late.so");
    let report = host.load_all().unwrap();
    assert_eq!((report.loaded.len(), report.failed.len()), (2, 0));
    // A file is no directory.
    let host = Host::builder()
        .plugin_dir(later.join("late.so"))
        .build()
        .unwrap();
    assert_eq!(host.discover().problems[0].code(), "io.failed");
}

#[test]
fn a_filter_is_asked_for_names() {
    let base = Base::new();
    for name in ["red", "green", "blue"] {
        base.plugin(name, &format!("{name}.so"), 1);
    }
    let host = base.host(Host::builder().filter(|name| name != "green"));
    assert_eq!(names(&host.discover()), ["blue", "red"]);
    assert_eq!(host.load_all().unwrap().loaded.len(), 2);
    refused(host.plugin("green"), "plugin.not_found");
    // It is for directories; what an app names itself it wants.
    host.load(base.path("green")).unwrap();
}

#[test]
fn a_library_that_is_not_there_is_said_by_the_names_it_could_have() {
    let base = Base::new();
    base.manifest("two-words", "");
    let host = host();
    let text = refused(host.load(base.path("two-words")), "dir.no_library");
    assert!(
        text.contains("`libtwo_words.so`, `two-words.so`") && text.contains("two-words"),
        "{text}"
    );
}

/// A name in the file system is not trusted: the directory, the manifest and the library agree.
#[test]
fn names_that_disagree_are_refused() {
    let base = Base::new();
    base.plugin("one", "libone.so", 1);
    fs::rename(base.path("one"), base.path("two")).unwrap();
    let problem = base.discover().problems.remove(0);
    assert_eq!(problem.code(), "manifest.identity");
    assert_eq!(problem.path(), base.path("two"));
    let text = problem.to_string();
    assert!(text.contains("`one`") && text.contains("two"), "{text}");

    base.manifest("three", "");
    copy(&named("four", 4), &base.path("three"), "three.so");
    let text = refused(host().load(base.path("three")), "manifest.identity");
    assert!(
        text.contains("`four`") && text.contains("`three`"),
        "{text}"
    );
}

/// Two files of one name: the first found is loaded, and the other is no secret.
#[test]
fn a_plugin_that_is_there_twice_is_loaded_once() {
    let base = Base::new();
    base.plugin("twice", "libtwice.so", 1);
    copy(&named("twice", 1), base.directory(), "a-same.so");
    copy(&named("twice", 2), base.directory(), "z-other.so");
    let host = base.host(Host::builder());
    let report = host.load_all().unwrap();
    assert_eq!(report.loaded.len(), 2, "the same bytes are the same plugin");
    let codes: Vec<&str> = report.failed.iter().map(|error| error.code()).collect();
    assert_eq!(codes, ["plugin.loaded"]);
    assert_eq!(number(&host.plugin("twice").unwrap(), "build"), 1);
    assert_eq!(host.census().generations, 1);
}

isolated! {
    /// Row 50: nothing is opened that could wait for somebody, and a link could lead anywhere.
    fn entries_of_other_kinds_are_passed_over() {
        let base = Base::new();
        base.plugin("good", "good.so", 1);
        base.plugin("hard", "linked.so", 2);
        fs::hard_link(base.path("hard/linked.so"), base.path("hard/hard.so")).unwrap();
        let outside = Base::new();
        outside.plugin("linked", "linked.so", 1);
        symlink(outside.path("linked"), base.path("linked")).unwrap();
        symlink(base.path("good/good.so"), base.path("link.so")).unwrap();
        symlink("loop-b", base.path("loop-a")).unwrap();
        symlink("loop-a", base.path("loop-b")).unwrap();
        symlink(".", base.path("self")).unwrap();
        fifo(&base.path("pipe.so"));
        fifo(&base.path("pipe.plg"));
        let _socket = UnixListener::bind(base.path("socket.so")).unwrap();
        File::create(base.path("nothing.so")).unwrap();
        fs::create_dir(base.path("fifo-manifest")).unwrap();
        fifo(&base.path("fifo-manifest").join(MANIFEST));
        fs::create_dir_all(base.path("dir-manifest").join(MANIFEST)).unwrap();
        fs::create_dir(base.path("link-manifest")).unwrap();
        symlink(base.path("good").join(MANIFEST), base.path("link-manifest").join(MANIFEST)).unwrap();
        fs::create_dir(base.path("dir.so")).unwrap();

        let found = base.discover();
        assert_eq!(names(&found), ["good", "hard"]);
        let kinds: Vec<(String, &str)> = problems(&found);
        let expected = [
            "dir-manifest/plugin.json", "fifo-manifest/plugin.json", "link-manifest/plugin.json",
            "link.so", "linked", "loop-a", "loop-b", "nothing.so", "pipe.plg", "pipe.so", "self",
            "socket.so",
        ];
        assert_eq!(kinds, expected.map(|path| (path.to_owned(), "dir.kind")));
        let all = base.host(Host::builder());
        let report = all.load_all().unwrap();
        let builds: Vec<i64> = report.loaded.iter().map(|plugin| number(plugin, "build")).collect();
        assert_eq!(builds, [1, 2]);

        // The same where an app names them, and where the library of a plugin is one.
        let host = host();
        for name in ["pipe.so", "socket.so", "dir-manifest", "fifo-manifest", "link-manifest"] {
            let error = host.load(base.path(name)).unwrap_err();
            assert!(["dir.kind", "io.failed"].contains(&error.code()), "{name}: {}", error.code());
        }
        base.manifest("pipe", "");
        fifo(&base.path("pipe/pipe.so"));
        refused(host.load(base.path("pipe")), "dir.kind");
        refused(host.load(base.path("loop-a")), "io.failed");
    }
}

isolated! {
    /// Row 50: a plugin that is loaded looks at its file again when it is loaded once more.
    fn a_library_that_became_a_fifo_delays_nothing() {
        let base = Base::new();
        base.plugin("good", "good.so", 1);
        let host = host();
        let plugin = host.load(base.path("good")).unwrap();
        fs::remove_file(base.path("good/good.so")).unwrap();
        fifo(&base.path("good/good.so"));
        refused(host.load(base.path("good")), "dir.kind");
        refused(host.upgrade("good", base.path("good")), "dir.kind");
        assert_eq!(number(&plugin, "build"), 1);
    }
}

isolated! {
    /// Row 50. Root could read everything, so the test gives that up.
    fn what_cannot_be_read_is_a_problem_of_its_own() {
        let base = Base::new();
        base.plugin("good", "good.so", 1);
        for name in ["sealed", "no-list", "no-library"] {
            base.plugin(name, &format!("{name}.so"), 2);
        }
        copy(&named("bare", 3), base.directory(), "bare.so");
        mode(base.directory(), 0o755);
        mode(&base.path("sealed").join(MANIFEST), 0o000);
        mode(&base.path("no-list"), 0o000);
        mode(&base.path("no-library/no-library.so"), 0o000);
        mode(&base.path("bare.so"), 0o000);
        let host = base.host(Host::builder());
        become_nobody();
        let report = host.load_all().unwrap();
        let loaded: Vec<&str> = report.loaded.iter().map(|plugin| plugin.name()).collect();
        assert_eq!(loaded, ["good"]);
        let codes: Vec<&str> = report.failed.iter().map(|error| error.code()).collect();
        assert_eq!(codes, ["io.denied"; 4]);
        let closed = Host::builder().plugin_dir(base.path("no-list")).build().unwrap();
        assert_eq!(closed.discover().problems[0].code(), "io.denied");
    }
}

/// Does one thing to a plugin directory.
type Spoil = fn(&Base);

/// Row 51: whoever can write to one of these can run code in the host.
#[test]
fn what_others_can_write_to_is_refused() {
    let spoil: [(&str, Spoil); 7] = [
        ("base", |base| mode(base.directory(), 0o777)),
        ("plugin", |base| mode(&base.path("target"), 0o757)),
        ("manifest", |base| {
            mode(&base.path("target").join(MANIFEST), 0o666)
        }),
        ("library", |base| {
            mode(&base.path("target/lib/target.so"), 0o666)
        }),
        ("on the way", |base| mode(&base.path("target/lib"), 0o777)),
        ("parent", |base| mode(base.parent.path(), 0o777)),
        ("owner", |base| to_another(&base.path("target"))),
    ];
    for (what, spoil) in spoil {
        let base = Base::new();
        fs::create_dir_all(base.path("target/lib")).unwrap();
        base.manifest(
            "target",
            r#","source":{"mode":"local_so","path":"lib/target.so"}"#,
        );
        copy(&named("target", 1), &base.path("target/lib"), "target.so");
        host().load(base.path("target")).unwrap();
        spoil(&base);
        if what == "owner" && !rustix::process::geteuid().is_root() {
            continue;
        }
        let found = base.discover();
        assert_eq!((names(&found), found.problems.len()), (vec![], 1), "{what}");
        assert_eq!(found.problems[0].code(), "dir.unsafe", "{what}");
        refused(host().load(base.path("target")), "dir.unsafe");
        let trusting = base.host(Host::builder().allow_unsafe_directories(true));
        assert_eq!(trusting.load_all().unwrap().loaded.len(), 1, "{what}");
    }
}

/// Row 51, for a library without a directory around it.
#[test]
fn a_bare_library_that_others_can_replace_is_refused() {
    let spoil: [(&str, Spoil); 4] = [
        ("library", |base| mode(&base.path("bare.so"), 0o646)),
        ("base", |base| mode(base.directory(), 0o777)),
        ("parent", |base| mode(base.parent.path(), 0o703)),
        ("owner", |base| to_another(&base.path("bare.so"))),
    ];
    for (what, spoil) in spoil {
        let base = Base::new();
        copy(&named("bare", 1), base.directory(), "bare.so");
        host().load(base.path("bare.so")).unwrap();
        let elsewhere = Base::new();
        let link = elsewhere.path("link.so");
        symlink(base.path("bare.so"), &link).unwrap();
        host().load(&link).unwrap();
        spoil(&base);
        if what == "owner" && !rustix::process::geteuid().is_root() {
            continue;
        }
        let text = refused(host().load(base.path("bare.so")), "dir.unsafe");
        assert!(text.contains("run `ch"), "{what}: {text}");
        refused(host().load(&link), "dir.unsafe");
        assert_eq!(base.discover().problems[0].code(), "dir.unsafe", "{what}");
        let trusting = Host::builder()
            .allow_unsafe_directories(true)
            .build()
            .unwrap();
        trusting.load(base.path("bare.so")).unwrap();
    }
}

/// A library that is a link is judged by where it leads.
#[test]
fn a_library_behind_a_link_is_looked_at_where_it_is() {
    let base = Base::new();
    let build = Base::new();
    copy(&named("linked", 1), build.directory(), "built.so");
    base.manifest("linked", "");
    symlink(build.path("built.so"), base.path("linked/linked.so")).unwrap();
    host().load(base.path("linked")).unwrap();
    mode(build.directory(), 0o777);
    refused(host().load(base.path("linked")), "dir.unsafe");
    assert_eq!(problems(&base.discover())[0].1, "dir.unsafe");
}

/// A sticky directory, such as the one for temporary files, lets nobody replace what is ours.
#[test]
fn a_sticky_directory_on_the_way_will_do() {
    let base = Base::new();
    base.plugin("good", "good.so", 1);
    mode(base.parent.path(), 0o1777);
    assert_eq!(names(&base.discover()), ["good"]);
    assert_eq!(problems(&base.discover()), []);
}

/// A scan of many plugins uses threads, and says the same as a scan of few.
#[test]
fn many_plugins_are_found_in_order() {
    let base = Base::new();
    let expected: Vec<String> = (0..400).map(|number| format!("many-{number:03}")).collect();
    for name in &expected {
        base.manifest(name, "");
        if name.ends_with('7') {
            continue;
        }
        File::create(base.path(name).join(format!("{name}.so"))).unwrap();
    }
    let found = base.discover();
    let (without, with): (Vec<_>, Vec<_>) = expected.iter().partition(|name| name.ends_with('7'));
    assert_eq!(names(&found), with);
    let codes: Vec<_> = without
        .iter()
        .map(|name| ((*name).clone(), "dir.no_library"))
        .collect();
    assert_eq!(problems(&found), codes);
}

/// A plugin directory in a directory of its own, so that the modes of both are the test's.
struct Base {
    parent: TempDir,
    plugins: PathBuf,
}

impl Base {
    fn new() -> Self {
        let parent = tempfile::tempdir().expect("a directory can be made");
        let plugins = parent.path().join("plugins");
        fs::create_dir(&plugins).expect("a directory can be made");
        mode(parent.path(), 0o755);
        mode(&plugins, 0o755);
        Self { parent, plugins }
    }

    fn directory(&self) -> &Path {
        &self.plugins
    }

    fn path(&self, below: &str) -> PathBuf {
        self.plugins.join(below)
    }

    /// Makes a directory with a manifest, to which `more` adds fields.
    fn manifest(&self, name: &str, more: &str) {
        fs::create_dir_all(self.path(name)).expect("a directory can be made");
        mode(&self.path(name), 0o755);
        let json = format!(r#"{{"name":"{name}","version":"1.0.0"{more}}}"#);
        fs::write(self.path(name).join(MANIFEST), json).expect("a manifest can be written");
        mode(&self.path(name).join(MANIFEST), 0o644);
    }

    /// A directory with a manifest and a library.
    fn plugin(&self, name: &str, library: &str, build: u32) {
        self.manifest(name, "");
        copy(&named(name, build), &self.path(name), library);
    }

    fn host(&self, builder: Builder) -> Host {
        builder
            .plugin_dir(self.directory())
            .build()
            .expect("a host can be set up")
    }

    fn discover(&self) -> Discovery {
        self.host(Host::builder()).discover()
    }
}

fn names(found: &Discovery) -> Vec<&str> {
    let names = found
        .candidates
        .iter()
        .map(|found| found.manifest.name.as_str());
    names.collect()
}

/// The problems, by the path below the plugin directory.
fn problems(found: &Discovery) -> Vec<(String, &str)> {
    let below = |path: &Path| {
        let parts: Vec<_> = path
            .iter()
            .map(|part| part.to_str().expect("the path is text"))
            .collect();
        let base = parts
            .iter()
            .rposition(|part| *part == "plugins")
            .expect("it is below the plugin directory");
        parts[base + 1..].join("/")
    };
    let problems = found.problems.iter();
    problems
        .map(|problem| (below(problem.path()), problem.code()))
        .collect()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is ours");
}

/// Gives a file to another user; only root can.
fn to_another(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(65534), Some(65534)).expect("root can give files away");
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo can be made");
}

fn library_of_another_abi() -> PathBuf {
    crate::support::cc::compile(
        "plugin.c",
        &[],
        &["NOTE_FINGERPRINT=1", "NOTE_NAME=\"foreign\""],
    )
}
