//! What the host must not map, or must let go of at once: it says why with a code, nothing of the file
//! stays in the process, and the host goes on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use plg_host::preflight::Rules;
use plg_host::{Digest, Host, Unloaded};
use plg_tests::{child, isolated};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::cc::{build, compile};
use crate::support::plugins::{
    Baseline, copy, digest, host, loaded, named, number, plugin_directory, refused, text,
    with_flips, with_header,
};
use crate::support::process::ignore;
use crate::support::{Variant, library, stamped};

isolated! {
    /// Row 52: of 64 lengths, 63 would kill the process inside the dynamic linker.
    fn cut_off_libraries_are_refused_and_the_host_lives() {
        let directory = tempfile::tempdir().unwrap();
        let host = host();
        let before = warm(&host);
        for original in [loaded(&[]), library("fixture-good", Variant::Debug)] {
            let path = copy(&original, directory.path(), "cut.so");
            let whole = fs::metadata(&path).unwrap().len();
            let file = File::options().write(true).open(&path).unwrap();
            let mut codes = BTreeMap::<_, u32>::new();
            for part in (0..64).rev() {
                file.set_len(whole * part / 64).unwrap();
                let error = host.load(&path).unwrap_err();
                *codes.entry(error.code()).or_default() += 1;
            }
            assert_eq!(codes, BTreeMap::from([("native.corrupt", 63), ("native.format", 1)]));
        }
        before.check_mappings(&host);
        assert_eq!(number(&host.load(loaded(&[])).unwrap(), "build"), 1);
    }
}

/// Row 53: a pinned library with any bit changed is refused before anything reads the rest of it.
#[test]
fn flipped_bits_are_refused_by_a_pin() {
    let directory = tempfile::tempdir().unwrap();
    let (plugin, library) = plugin_directory(directory.path(), &loaded(&[]));
    let (expected, bytes) = (digest(&library), fs::read(&library).unwrap());
    let host = host();
    for seed in 0..400 {
        fs::write(&library, with_flips(&bytes, seed, bytes.len())).unwrap();
        refused(host.load_pinned(&plugin, expected), "native.hash");
        // A library without a directory around it is read for its manifest first.
        let error = host.load_pinned(&library, expected).unwrap_err();
        assert!(error.code().contains('.'), "seed {seed}: {}", text(&error));
    }
    fs::write(&library, &bytes).unwrap();
    let text = refused(
        host.load_pinned(&plugin, Digest::of(b"other")),
        "native.hash",
    );
    assert!(
        text.contains(&expected.to_string()) && text.contains(&Digest::of(b"other").to_string())
    );
    assert_eq!(
        number(&host.load_pinned(&plugin, expected).unwrap(), "build"),
        1
    );
}

/// Row 55, and row 56: what stands beside the plugin or on a path of its own is not found.
#[test]
fn libraries_that_are_not_there_are_named() {
    let (dependency, directory) = planted();
    let host = host();
    let cases: [(&[&str], &str); 5] = [
        (&[], "native.needed"),
        (&["-Wl,-rpath,$ORIGIN"], "native.needed"),
        (&["-Wl,-rpath,."], "native.search_path"),
        (&["-Wl,-rpath,lib"], "native.search_path"),
        (&["-Wl,-rpath,"], "native.search_path"),
    ];
    for (flags, code) in cases {
        let library = dependent(&dependency, flags);
        let beside = copy(&library, &directory, "dependent.so");
        let text = refused(host.load(&beside), code);
        assert!(
            code != "native.needed" || text.contains("libplgplanted.so"),
            "{text}"
        );
    }
    assert_eq!(host.census().generations, 0);
}

/// Row 56: an environment variable cannot plant a library that the plugin lacks.
#[test]
fn a_search_path_of_the_environment_plants_nothing() {
    let (dependency, directory) = planted();
    let mark = directory.join("planted-ran");
    let _ = fs::remove_file(&mark);
    let evil = format!("CONSTRUCTOR=mark(\"{}\")", mark.display());
    let evil = with_header("loaded.c", &["-Wl,-soname,libplgplanted.so"], &[&evil]);
    copy(&evil, &directory, "libplgplanted.so");
    let test = concat!(
        module_path!(),
        "::a_search_path_of_the_environment_plants_nothing"
    );
    let variables = [("LD_LIBRARY_PATH", directory.to_str().unwrap())];
    let ended = child::run(test, &variables, || {
        // The variable does work in this process: the linker finds the library by name.
        assert_eq!(std::env::var("LD_LIBRARY_PATH").unwrap(), variables[0].1);
        refused(host().load(dependent(&dependency, &[])), "native.needed");
    });
    assert!(ended.status.success(), "{}", ended.output);
    assert!(!mark.exists(), "the planted library ran");
}

/// Row 56.
#[test]
fn a_hardened_host_takes_no_search_path_of_a_plugin() {
    let hardened = Rules {
        hardened: true,
        ..Rules::default()
    };
    let library = with_header("loaded.c", &["-Wl,-rpath,/usr/lib"], &[]);
    let host = Host::builder().preflight(hardened).build().unwrap();
    refused(host.load(&library), "native.search_path");
    assert_eq!(number(&self::host().load(&library).unwrap(), "build"), 1);
}

/// Row 57: the ABI is known before a constructor could run.
#[test]
fn no_constructor_of_a_foreign_abi_runs() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&str, &str); 6] = [
        ("NOTE_FINGERPRINT=1", "abi.mismatch"),
        ("NOTE_MAJOR=2", "abi.mismatch"),
        ("NOTE_BITS=32", "abi.mismatch"),
        ("NOTE_FLAGS=4", "native.panic_abort"),
        ("NOTE_ABSENT", "abi.missing"),
        ("EXECUTE_ABSENT", "native.symbol"),
    ];
    let host = host();
    for (define, code) in cases {
        let mark = directory.path().join(define);
        let constructor = format!("CONSTRUCTOR=\"{}\"", mark.display());
        let library = compile("plugin.c", &[], &[&constructor, define]);
        refused(host.load(library), code);
        assert!(!mark.exists(), "{define}: its constructor ran");
    }
    let mark = directory.path().join("fits");
    let constructor = format!("CONSTRUCTOR=\"{}\"", mark.display());
    // Without a manifest, the note says enough.
    let fits = compile("plugin.c", &[], &[&constructor, "NOTE_MANIFEST=\"\""]);
    host.load(fits).unwrap();
    assert!(
        mark.exists(),
        "the constructor of a plugin that fits does run"
    );
}

/// Row 63.
#[test]
fn what_is_no_library_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let host = host();
    for (name, bytes) in [
        ("script.so", b"#!/bin/sh\nexit 1\n".as_slice()),
        ("text.so", b"hello".as_slice()),
        ("zeros.so", &[0; 8192]),
        ("elf.so", b"\x7fELF"),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = host.load(&path).unwrap_err();
        assert!(
            ["native.format", "native.corrupt"].contains(&error.code()),
            "{name}: {}",
            text(&error)
        );
    }
    refused(
        host.load(build("program.c", &["-pie", "-fPIE"], &[])),
        "native.format",
    );
}

/// Row 64.
#[test]
fn a_library_without_the_two_symbols_is_refused() {
    let host = host();
    for define in [
        "EXECUTE_ABSENT",
        "EXECUTE_DATA",
        "EXECUTE_IFUNC",
        "EXECUTE_IMPORTED",
        "EXECUTE_HIDDEN",
        "DESCRIPTOR_ABSENT",
        "DESCRIPTOR_DATA",
        "DESCRIPTOR_TLS",
    ] {
        refused(
            host.load(compile("plugin.c", &[], &[define])),
            "native.symbol",
        );
    }
}

isolated! {
    /// Rows 64 and 74: a descriptor that does not hold together is refused and the library unmapped.
    fn a_descriptor_that_does_not_hold_together_is_refused() {
        let host = host();
        let before = warm(&host);
        let cases: [(&str, &str); 27] = [
            ("NULL_TABLE", "null"),
            ("MISALIGNED", "multiple of 8"),
            ("SMALL", "its size is 87, expected at least 88"),
            ("EMPTY", "its size is 0"),
            ("HUGE", "its size is 4294967295"),
            ("ON_HEAP", "outside the image"),
            ("IN_LIBC", "outside the image"),
            ("NOWHERE", "outside the image"),
            ("AT_END", "outside the image"),
            ("IN_HOLE", "outside the image"),
            ("NULL_EXECUTE", "`execute` is null"),
            ("EXECUTE_IN_LIBC", "`execute` points to"),
            ("EXECUTE_IN_DATA", "`execute` points to"),
            ("INIT_IN_DATA", "`init` points to"),
            ("STOP_NOWHERE", "`stop` points to"),
            ("LIVE_NOWHERE", "`live` points to"),
            ("FINI_NOWHERE", "`fini` points to"),
            ("SAVE_IN_LIBC", "`save` points to"),
            ("RESTORE_IN_DATA", "`restore` points to"),
            ("NO_LABELS", "labels lie outside"),
            ("LABELS_NOWHERE", "labels lie outside"),
            ("LABELS_WITHOUT_END", "too many labels"),
            ("LABELS_PAST_END", "labels lie outside"),
            ("LABEL_NOWHERE", "label 0 lies outside"),
            ("LABEL_WITHOUT_END", "label 0 lies outside"),
            ("LABEL_OF_OTHER_TEXT", "label 0 is not UTF-8"),
            ("LABEL_BLANK", "its label \"  \" is none"),
        ];
        for (define, problem) in cases {
            // Segments far apart leave holes inside the image in which nothing can be read.
            let far_apart: &[&str] = &["-Wl,-z,max-page-size=0x200000"];
            let flags = if define == "IN_HOLE" { far_apart } else { &[] };
            let text = refused(host.load(with_header("descriptor.c", flags, &[define])), "native.init");
            assert!(text.contains(problem), "{define}: {text}");
            before.check(&host);
        }
        // A table that is longer than this host knows is none of that.
        host.load(with_header("descriptor.c", &[], &["LATER"])).unwrap();
        assert_eq!(host.unload("descriptor").unwrap(), Unloaded::Unmapped);
        before.check_mappings(&host);
    }
}

isolated! {
    /// Row 65: a panic of such a plugin would end the host.
    fn a_build_that_aborts_on_panic_is_refused() {
        let host = host();
        let before = warm(&host);
        let text = refused(host.load(library("fixture-good", Variant::Abort)), "native.panic_abort");
        assert!(text.contains("fixture-good"), "{text}");
        before.check(&host);
    }
}

/// Row 68: an error now, and not a crash at the first call.
#[test]
fn a_symbol_that_nobody_has_refuses_the_load() {
    let host = host();
    let library = with_header("loaded.c", &["-Wl,-z,lazy"], &["UNRESOLVED"]);
    let text = refused(host.load(library), "native.dlopen");
    assert!(
        text.contains("plg_fixture_nowhere") && !text.contains("/proc/self"),
        "{text}"
    );
    assert_eq!(number(&host.load(loaded(&[])).unwrap(), "build"), 1);
}

/// Row 73.
#[test]
fn words_of_the_linker_that_are_no_text_are_shown_nevertheless() {
    let directory = tempfile::tempdir().unwrap();
    let library = with_header("loaded.c", &["-Wl,-z,lazy"], &["UNRESOLVED"]);
    let mut bytes = fs::read(library).unwrap();
    let name = b"plg_fixture_nowhere";
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|at| bytes[*at..].starts_with(name))
        .collect();
    for at in &places {
        bytes[at + 4..at + 8].copy_from_slice(b"\xff\xfe\x1b\x80");
    }
    assert!(!places.is_empty());
    let path = directory.path().join("odd.so");
    fs::write(&path, bytes).unwrap();
    let text = refused(host().load(path), "native.dlopen");
    assert!(
        text.contains("plg_") && text.contains("ure_nowhere"),
        "{text}"
    );
}

isolated! {
    /// Row 72: the reserve for thread-locals of this kind is for all libraries of the process together.
    fn a_library_that_finds_no_room_for_its_thread_locals_is_refused() {
        let host = host();
        let before = warm(&host);
        refused(host.load(loaded(&["TLS_BYTES=4194304"])), "native.static_tls");
        let said = refused(host.load(loaded(&["TLS_BYTES=262144"])), "native.dlopen");
        assert!(said.contains("static TLS"), "{said}");
        before.check(&host);
        let some = |number: u32| loaded(&[&format!("NAME=\"local-{number}\""), "TLS_BYTES=256"]);
        let mut fitted = Vec::new();
        let said = loop {
            let name = format!("local-{}", fitted.len());
            match host.load(some(fitted.len() as u32)) {
                Ok(_) => fitted.push(name),
                Err(error) => break text(&error),
            }
            assert!(fitted.len() < 200, "the reserve has no end");
        };
        assert!(said.contains("static TLS"), "{said}");
        assert_eq!(number(&host.load(loaded(&[])).unwrap(), "build"), 1);
        for name in fitted {
            assert_eq!(host.unload(&name).unwrap(), Unloaded::Unmapped);
        }
        host.load(some(1)).unwrap();
    }
}

isolated! {
    /// Row 74.
    fn a_plugin_that_refuses_to_start_is_taken_out_again() {
        let directory = tempfile::tempdir().unwrap();
        let host = host();
        let start = |build| host.load(stamped(directory.path(), Variant::Debug, build));
        let before = Baseline::after(&host, || {
            start(1).unwrap();
            assert_eq!(host.unload("fixture-good").unwrap(), Unloaded::Unmapped);
            refused(start(667), "native.init");
        });
        let text = refused(start(666), "native.init");
        assert!(text.contains("build 666 never starts") && text.contains("fixture.refused"), "{text}");
        before.check(&host);
        let text = refused(start(667), "native.init");
        assert!(text.contains("build 667 panics in init"), "{text}");
        before.check(&host);
        for (define, words) in [
            ("INIT_REFUSE", "it never starts"),
            ("INIT_SILENT", "did not say why"),
            ("INIT_STRANGE", "did not say why"),
        ] {
            let text = refused(host.load(loaded(&[define])), "native.init");
            assert!(text.contains(words), "{text}");
            before.check(&host);
        }
        // The name is free, and the build before stays where an upgrade fails.
        let plugin = start(2).unwrap();
        for build in [666, 667] {
            let next = stamped(directory.path(), Variant::Debug, build);
            refused(host.upgrade("fixture-good", next), "native.init");
            assert_eq!(number(&plugin, "build"), 2);
        }
        assert_eq!(host.unload("fixture-good").unwrap(), Unloaded::Unmapped);
        before.check(&host);
    }
}

isolated! {
    /// Row 75.
    fn a_host_without_descriptors_says_so_and_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let (plugin, bare) = plugin_directory(directory.path(), &loaded(&[]));
        let images = tempfile::tempdir().unwrap();
        let in_files = Host::builder().image_directory(images.path()).build().unwrap();
        for host in [host(), in_files] {
            let before = warm(&host);
            let limit = getrlimit(Resource::Nofile);
            set(Resource::Nofile, 64);
            for path in [&plugin, &bare] {
                let mut refusals = 0;
                for spare in 0.. {
                    let taken = all_descriptors_but(spare);
                    let outcome = host.load(path);
                    drop(taken);
                    if outcome.is_ok() {
                        break;
                    }
                    refused(outcome, "io.emfile");
                    refusals += 1;
                    before.check(&host);
                }
                assert!((1..8).contains(&refusals), "{refusals}");
                assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
                before.check(&host);
            }
            setrlimit(Resource::Nofile, limit).unwrap();
        }
    }
}

isolated! {
    /// Row 75: a file that does not fit into memory, or an image that does not fit on the disk.
    fn a_host_without_room_says_so_and_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let images = tempfile::tempdir().unwrap();
        let library = loaded(&[]);
        let in_files = Host::builder().image_directory(images.path()).build().unwrap();
        for host in [host(), in_files] {
            let before = warm(&host);
            let limit = getrlimit(Resource::Fsize);
            ignore(libc::SIGXFSZ);
            set(Resource::Fsize, 4096);
            let outcome = host.load(&library);
            setrlimit(Resource::Fsize, limit).unwrap();
            refused(outcome, "io.failed");
            before.check(&host);
            assert_eq!(number(&host.load(&library).unwrap(), "build"), 1);
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        }
        assert_eq!(fs::read_dir(images.path()).unwrap().count(), 0, "half an image was left");

        let large = directory.path().join("large.so");
        File::create(&large).unwrap().set_len(900 << 20).unwrap();
        let host = host();
        let limit = getrlimit(Resource::As);
        set(Resource::As, 600 << 20);
        let outcome = host.load(&large);
        setrlimit(Resource::As, limit).unwrap();
        refused(outcome, "io.failed");
        assert_eq!(number(&host.load(&library).unwrap(), "build"), 1);
    }
}

/// A file over the cap is not read.
#[test]
fn a_file_over_the_limit_is_refused_by_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.so");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    refused(host().load(&path), "native.too_large");
    let limits = plg_host::Limits {
        image_bytes: 1000,
        ..plg_host::Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let text = refused(host.load(named("loaded", 1)), "native.too_large");
    assert!(text.contains("1000"), "{text}");
}

#[test]
fn paths_to_nothing_are_said_to_be_that() {
    let directory = tempfile::tempdir().unwrap();
    let host = host();
    refused(
        host.load(directory.path().join("missing.so")),
        "io.not_found",
    );
    refused(host.load(directory.path()), "io.not_found");
    let dangling = directory.path().join("dangling.so");
    symlink(directory.path().join("missing.so"), &dangling).unwrap();
    refused(host.load(dangling), "io.not_found");
}

/// A library that others are linked with, and a directory in which nobody looks on their own. The
/// directory is the same in a test and its child.
fn planted() -> (PathBuf, PathBuf) {
    let dependency = compile("dependency.c", &["-Wl,-soname,libplgplanted.so"], &[]);
    let directory = dependency.with_file_name("planted");
    fs::create_dir_all(&directory).expect("the target directory is writable");
    (dependency, directory)
}

/// A plugin that depends on the planted library.
fn dependent(dependency: &Path, flags: &[&str]) -> PathBuf {
    let dependency = dependency.to_str().expect("the path is text");
    let link = [flags, &["-Wl,--no-as-needed", dependency]].concat();
    with_header("loaded.c", &link, &["DEPENDENCY"])
}

/// The measure of a process that has loaded something before.
fn warm(host: &Host) -> Baseline {
    Baseline::after(host, || {
        host.load(loaded(&[])).expect("it is as good as can be");
        let unloaded = host.unload("loaded").expect("it is loaded");
        assert_eq!(unloaded, Unloaded::Unmapped);
    })
}

/// Takes all descriptors that this process may have, but a few.
fn all_descriptors_but(spare: usize) -> Vec<File> {
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let enough = taken.len().checked_sub(spare);
    taken.truncate(enough.expect("there are more descriptors than are spared"));
    taken
}

fn set(resource: Resource, current: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(current);
    setrlimit(resource, Rlimit { current, maximum }).expect("a limit can be lowered");
}
