//! Signals to an app that hosts plugins in processes of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::support::programs::{Programs, exists};
use crate::support::run::{Run, command};
use crate::support::{plg, wait_until};

/// A `plg watch` in a process group of its own, with one plugin that is a program.
struct App {
    child: Child,
    plugin: Pid,
    _programs: Programs,
    _run: TempDir,
}

impl App {
    fn start(args: &[&str]) -> Self {
        let programs = Programs::new();
        programs.plugin("helper", args);
        let run = tempfile::tempdir().unwrap();
        // What others may enter is no run directory.
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o700)).unwrap();
        // Whoever runs the tests may ignore hang-ups, and that is inherited.
        let mut child = Command::new("env")
            .arg("--default-signal=HUP")
            .arg(plg())
            .args(["watch", "--json"])
            .arg(programs.path())
            .env("XDG_RUNTIME_DIR", run.path())
            .env("PLG_RUN_DIR", run.path())
            .env("XDG_STATE_HOME", "/dev/null")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_loaded =
            |line: &String| line.contains(r#""step":"load""#) && line.contains(r#""phase":"done""#);
        assert!(lines.any(|line| is_loaded(&line.unwrap())), "it was loaded");
        // It goes on printing.
        thread::spawn(move || lines.count());
        let mut ps = command(run.path(), &["ps", "--json"]);
        let listed = Run::from(ps.env("PLG_RUN_DIR", run.path()).output().unwrap());
        let listed = listed.json();
        let plugin = listed["hosts"][0]["plugins"][0]["pid"].as_i64();
        let plugin = plugin.unwrap_or_else(|| panic!("{listed}"));
        Self {
            child,
            plugin: Pid::from_raw(i32::try_from(plugin).unwrap()).unwrap(),
            _programs: programs,
            _run: run,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The status that it ends with; its plugin is gone then, or a moment later.
    fn status(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        wait_until("the end of the plugin", || !exists(self.plugin));
        status.code()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Row 189: Ctrl-C goes to the whole group of the terminal, and the plugin is not in it: its host asks it to end.
#[test]
fn an_interrupt_of_the_group_ends_plugins_in_order() {
    let note = tempfile::tempdir().unwrap();
    let note = note.path().join("note");
    let app = App::start(&["note_end", note.to_str().unwrap()]);
    assert_ne!(getpgid(Some(app.plugin)).unwrap(), app.pid());
    kill_process_group(app.pid(), Signal::INT).unwrap();
    assert_eq!(app.status(), Some(0));
    assert_eq!(fs::read_to_string(note).unwrap(), "asked");
}

/// Row 189: the first signal waits for a plugin that does not want to end, the second one does not.
#[test]
fn a_second_signal_ends_the_app_at_once() {
    let app = App::start(&["ignore_term"]);
    let pid = app.pid();
    wait_until("the end of the app", || {
        let _ = kill_process(pid, Signal::TERM);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    // Not in order: with 1, or of one signal more that came just then.
    assert_ne!(app.status(), Some(0));
}

/// Row 189: what ends the app without asking ends its plugins as well.
#[test]
fn an_app_that_hangs_up_leaves_no_plugin() {
    let app = App::start(&["ok"]);
    kill_process(app.pid(), Signal::HUP).unwrap();
    assert_eq!(app.status(), None);
}
