//! `plg doctor`, run as operators run it.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;

use plg_host::Host;
use plg_host::machine::{self, Machine};
use plg_host::policy::Level;
use plg_tests::child;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;

use crate::support::programs::{Programs, host, pid, value};
use crate::support::run::Run;
use crate::support::wait_until;

#[test]
fn it_says_what_the_machine_has_and_which_levels_it_offers() {
    let machine = Machine::look();
    let run = tempfile::tempdir().unwrap();
    let run = run.path().to_str().unwrap();
    let said = Run::of(&["doctor", "--run-dir", run]);
    let sandboxes = machine.offers(Level::Sandboxed).is_ok();
    assert_eq!(said.status, i32::from(!sandboxes), "{}", said.stderr);
    for words in [
        "WHAT",
        "landlock",
        "seccomp",
        "pidfd",
        "trusted: plugins of this level",
    ] {
        assert!(said.stdout.contains(words), "{}", said.stdout);
    }
    assert!(said.stdout.contains(&machine.kernel), "{}", said.stdout);
    // Nobody reads that what is denied can run.
    assert!(!said.stdout.contains("denied"), "{}", said.stdout);
    let document = Run::of(&["doctor", "--run-dir", run, "--json"]).json();
    assert_eq!(document["machine"]["landlock"], machine.landlock);
    let sandboxed = &document["levels"][3];
    assert_eq!(sandboxed["level"], "sandboxed");
    assert_eq!(sandboxed["offered"], sandboxes);
    assert_eq!(document["leftovers"], json!([]));
    // Here is what a host was started with, so nothing of that is missing.
    pid(&host()
        .load(Programs::new().plugin("helper", &["ok"]))
        .unwrap());
    assert_eq!(machine.offers(Level::Isolated), Ok(()));
}

#[test]
fn a_machine_without_it_offers_no_sandbox_and_says_why() {
    let mut machine = Machine::look();
    (machine.landlock, machine.seccomp) = (2, false);
    let missing = machine.offers(Level::Sandboxed).unwrap_err();
    for words in ["version 3 of landlock", "seccomp"] {
        assert!(missing.contains(words), "{missing}");
    }
    machine.pidfd = false;
    assert!(
        machine
            .offers(Level::Isolated)
            .unwrap_err()
            .contains("pidfds")
    );
    assert_eq!(machine.offers(Level::Trusted), Ok(()));
}

/// A host that is killed leaves its directory, which one that lives does not.
#[test]
fn it_finds_what_a_killed_host_left_and_removes_that_alone() {
    if let (Some(run), Some(path)) = (env::var_os("PLG_RUN"), env::var_os("PLG_PATH")) {
        load_and_die(Path::new(&run), Path::new(&path));
    }
    let programs = Programs::new();
    let path = programs.plugin("helper", &["ok"]);
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let living = build(run);
    let helper = living.load(&path).unwrap();
    let (text, path) = (run.display().to_string(), path.display().to_string());
    let test = concat!(
        module_path!(),
        "::it_finds_what_a_killed_host_left_and_removes_that_alone"
    );
    let variables = [("PLG_RUN", text.as_str()), ("PLG_PATH", path.as_str())];
    let ended = child::run(test, &variables, || unreachable!("it dies before"));
    let left = ended
        .output
        .lines()
        .find_map(|line| line.strip_prefix("work "));
    let left = Path::new(left.unwrap())
        .parent()
        .and_then(Path::parent)
        .unwrap();
    wait_until("its program is gone", || {
        machine::leftovers(Some(run))
            .iter()
            .all(|left| left.processes.is_empty())
    });
    let before = Run::of(&["doctor", "--run-dir", &text]);
    let shown = left.display().to_string();
    assert!(
        before.stdout.contains(&format!("left behind: `{shown}`")),
        "{}",
        before.stdout
    );
    assert_eq!(
        fs::read_dir(run).unwrap().count(),
        2,
        "looking removes nothing"
    );
    let document = Run::of(&["doctor", "--run-dir", &text, "--json"]).json();
    assert_eq!(
        document["leftovers"],
        json!([{ "path": shown, "exists": true, "processes": [] }])
    );
    let swept = Run::of(&["doctor", "--run-dir", &text, "--sweep"]);
    assert!(
        swept.stdout.contains(&format!("removed `{shown}`")),
        "{}",
        swept.stdout
    );
    assert!(!left.exists());
    pid(&helper);
    assert_eq!(machine::leftovers(Some(run)), []);
}

/// A process that left its group outlives its host's directory.
#[test]
fn it_finds_processes_that_outlived_their_host() {
    let run = tempfile::tempdir().unwrap();
    let host = build(run.path());
    let programs = Programs::new();
    let mark = programs.path().join("mark");
    let path = programs.plugin("helper", &["setsid", mark.to_str().unwrap()]);
    host.load(path).unwrap();
    let orphan: i32 = fs::read_to_string(&mark).unwrap().parse().unwrap();
    assert_eq!(machine::leftovers(Some(run.path())), [], "its host lives");
    drop(host);
    let left = machine::leftovers(Some(run.path()));
    let text = run.path().display().to_string();
    let said = Run::of(&["doctor", "--run-dir", &text]).stdout;
    kill_process(
        rustix::process::Pid::from_raw(orphan).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        (left[0].exists, &*left[0].processes),
        (false, &[orphan][..])
    );
    assert!(said.contains(&format!("`kill {orphan}`")), "{said}");
}

fn build(run: &Path) -> Host {
    let builder = Host::builder().run_dir(run).allow_unsafe_directories(true);
    builder.build().unwrap()
}

/// Loads a program, says where it works, and is killed.
fn load_and_die(run: &Path, path: &Path) {
    let host = build(run);
    let helper = host.load(path).unwrap();
    let work = value(&helper, "cwd", "cwd").unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nwork {}", work.as_str().unwrap()).unwrap();
    out.flush().unwrap();
    kill_process(getpid(), Signal::KILL).unwrap();
}
