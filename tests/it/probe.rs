//! Images that are tried in a child before they are mapped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plg_host::{Host, Limits, Unloaded};
use plg_tests::isolated;
use rustix::process::{Pid, test_kill_process};

use crate::support::plugins::{
    Baseline, copy, digest, loaded, number, refused, text, with_flips, with_header,
};
use crate::support::{Variant, program, wait_until};

isolated! {
    /// Row 54. The host is in a child as well: without a probe, each of these ends the process.
    fn constructors_that_end_the_process_end_the_probe() {
        let host = probing(Duration::from_millis(500));
        let good = loaded(&[]);
        let before = Baseline::after(&host, || {
            host.load(&good).unwrap();
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        });
        let cases = [
            ("*(volatile char *)(uintptr_t)getpid = 1", "was killed by signal 11"),
            ("abort()", "was killed by signal 6"),
            ("for (;;) usleep(1000)", "did not end within 500ms"),
            ("for (volatile int i = 0;; i++)", "did not end within 500ms"),
            ("_exit(0)", "ended before the library was mapped"),
            ("exit(7)", "failed with status 7"),
            ("raise(SIGSTOP)", "did not end within 500ms"),
            // It leaves the group that the probe was given.
            (
                "if (setpgid(0, getpgid(getppid())) == 0) for (;;) pause()",
                "did not end within 500ms",
            ),
        ];
        for (constructor, ending) in cases {
            let library = loaded(&[&format!("CONSTRUCTOR={constructor}")]);
            let outcome = host.load(&library);
            assert!(outcome.is_err(), "{constructor}");
            let text = refused(outcome, "native.probe_crashed");
            assert!(text.contains(ending), "{constructor}: {text}");
            // The bytes are remembered, whatever the file is called and whatever stands around it.
            let text = refused(host.load(&library), "native.quarantined");
            assert!(text.contains(ending), "{constructor}: {text}");
            let digest = digest(&library);
            let known = host.quarantine().list();
            let [(known, entry)] = &*known else {
                panic!("{constructor}: {known:?}");
            };
            assert_eq!((*known, entry.plugin.as_str()), (digest, "loaded"));
            assert!(entry.reason.contains(ending), "{constructor}: {entry:?}");
            assert!(host.quarantine().remove(&digest));
            assert!(!host.quarantine().remove(&digest));
            before.check(&host);
        }
        let crashing = loaded(&["CONSTRUCTOR=abort()"]);
        refused(host.load(&crashing), "native.probe_crashed");
        let directory = tempfile::tempdir().unwrap();
        let copy = copy(&crashing, directory.path(), "other.so");
        refused(host.load(copy), "native.quarantined");
        assert_eq!(number(&host.load(&good).unwrap(), "build"), 1);
        // Neither does it come in as an upgrade; what answers goes on.
        refused(host.upgrade("loaded", &crashing), "native.quarantined");
        assert!(host.quarantine().remove(&digest(&crashing)));
        refused(host.upgrade("loaded", &crashing), "native.probe_crashed");
        assert_eq!(number(&host.plugin("loaded").unwrap(), "build"), 1);
    }
}

isolated! {
    /// Row 54: nothing that a constructor starts outlives the probe.
    fn what_a_constructor_leaves_running_is_ended_with_the_probe() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("forked");
        let host = probing(Duration::from_secs(20));
        let library = loaded(&[&format!("CONSTRUCTOR_FORK=\"{}\"", mark.display())]);
        refused(host.load(library), "native.probe_crashed");
        let child = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        let child = Pid::from_raw(child).unwrap();
        wait_until("the constructor's child is gone", || {
            test_kill_process(child).is_err() || is_zombie(child)
        });
    }
}

isolated! {
    /// Row 53: what the preflight cannot see of a damaged library, the probe finds.
    fn damaged_libraries_crash_the_probe_and_not_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let host = probing(Duration::from_secs(5));
        let bytes = fs::read(loaded(&["CONSTRUCTOR=check()", "STAMP"])).unwrap();
        let stamp = b"plg-fixture-whole";
        let at = bytes.windows(stamp.len()).position(|window| window == stamp).unwrap();
        let path = directory.path().join("damaged.so");
        fs::write(&path, &bytes).unwrap();
        host.load(&path).unwrap();
        assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        let mut damaged = bytes;
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        refused(host.load(&path), "native.probe_crashed");

        // Headers and tables, where damage makes the dynamic linker itself crash. A plugin without
        // `init`: the probe runs constructors only.
        let bytes = fs::read(with_header("descriptor.c", &[], &[])).unwrap();
        for seed in 0..100 {
            fs::write(&path, with_flips(&bytes, seed, 4096)).unwrap();
            match host.load(&path) {
                Ok(plugin) => drop(host.unload(plugin.name()).unwrap()),
                Err(error) => assert!(error.code().contains('.'), "{seed}: {}", text(&error)),
            }
        }
    }
}

#[test]
fn a_probe_that_cannot_start_is_no_fault_of_the_plugin() {
    let library = loaded(&[]);
    for program in ["/nonexistent/plg", "/"] {
        let host = Host::builder().probe_with(program).build().unwrap();
        let text = refused(host.load(&library), "native.probe_start");
        assert!(text.contains(program), "{text}");
        assert!(host.quarantine().is_empty());
    }
}

/// A program that does not know the probe's argument has mapped nothing.
#[test]
fn a_program_that_is_no_probe_lets_nothing_through() {
    let host = Host::builder().probe_with("/bin/true").build().unwrap();
    refused(host.load(loaded(&[])), "native.probe_crashed");
}

#[test]
fn a_probe_that_hangs_costs_its_limit_and_no_more() {
    let host = probing(Duration::from_millis(300));
    let library = loaded(&["CONSTRUCTOR=for (;;) usleep(1000)"]);
    let start = Instant::now();
    refused(host.load(library), "native.probe_crashed");
    let took = start.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );
}

fn probing(limit: Duration) -> Host {
    let limits = Limits {
        probe: limit,
        ..Limits::default()
    };
    Host::builder()
        .limits(limits)
        .probe_with(prober())
        .build()
        .expect("a host can be set up")
}

/// Any program that calls `probe::run_if_asked` will do.
fn prober() -> PathBuf {
    program("fixture-host", Variant::Debug)
}

/// Nobody has waited for it yet, but it runs no more.
fn is_zombie(process: Pid) -> bool {
    let status = Path::new("/proc").join(process.to_string()).join("stat");
    fs::read_to_string(status).is_ok_and(|status| status.contains(") Z "))
}
