//! `plg doctor`: what this machine has that hosts make use of, and what they left on it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use plg_host::machine::{self, Leftover, Machine};
use plg_host::policy::Level;
use serde_json::json;

use super::history::print;
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Failure;

/// Show what this machine has that plugins are run with, and what hosts left behind
///
/// A host needs none of this for plugins in its own process. Plugins in processes of their own need some, and a
/// sandbox needs more: where it is missing, a sandboxed plugin is not started.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg doctor
  plg doctor --json
  plg doctor --sweep     removes the directories of hosts that were killed

Exit status:
  0  plugins of every level can run here
  1  some cannot")]
pub(crate) struct Doctor {
    /// Remove the directories that hosts left behind
    #[arg(long)]
    sweep: bool,
    /// Where hosts have the sockets of plugins; by default $XDG_RUNTIME_DIR or the directory for temporary files
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

/// One line of the table: what it is, whether it is there, and what its absence means.
struct Row {
    name: &'static str,
    is_there: bool,
    found: String,
    advice: &'static str,
}

impl Doctor {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let machine = Machine::look();
        let run_dir = self.run_dir.as_deref();
        let swept = match self.sweep {
            true => machine::sweep(run_dir),
            false => Vec::new(),
        };
        let left = machine::leftovers(run_dir);
        let levels = Level::ALL.map(|level| (level, machine.offers(level)));
        let exit = match levels.iter().all(|(_, offered)| offered.is_ok()) {
            true => Exit::Ok,
            false => Exit::Other,
        };
        if output.is_json() {
            let levels = levels.iter().map(|(level, offered)| {
                let missing = offered.as_ref().err();
                json!({ "level": level.as_str(), "offered": missing.is_none(), "missing": missing })
            });
            output.json(&json!({
                "machine": machine,
                "levels": levels.collect::<Vec<_>>(),
                "leftovers": left,
                "swept": swept,
            }))?;
            return Ok(exit);
        }
        let rows = rows(&machine).into_iter().map(Row::cells);
        print(["WHAT", "STATE", "FOUND", "WHAT TO DO"], rows, output)?;
        let mut out = output.text();
        writeln!(out)?;
        for (level, offered) in &levels {
            match offered {
                // Nothing of it runs anywhere.
                _ if *level == Level::Denied => {}
                Ok(()) => writeln!(out, "{level}: plugins of this level can run here")?,
                Err(missing) => writeln!(out, "{level}: none can run here, {missing}")?,
            }
        }
        for path in &swept {
            writeln!(out, "removed `{}`", path.display())?;
        }
        for leftover in &left {
            writeln!(out, "{}", told(leftover))?;
        }
        Ok(exit)
    }
}

fn rows(machine: &Machine) -> Vec<Row> {
    let plain = |name, is_there, advice| Row {
        name,
        is_there,
        found: String::new(),
        advice,
    };
    let landlock = match machine.landlock {
        0 => "off".to_owned(),
        version => format!("version {version}"),
    };
    let cgroup = machine.cgroup.as_ref();
    let controllers = cgroup.map_or_else(String::new, |group| group.controllers.join(" "));
    vec![
        Row {
            name: "kernel",
            is_there: true,
            found: format!("Linux {}", machine.kernel),
            advice: "",
        },
        Row {
            name: "landlock",
            is_there: machine.landlock >= 3,
            found: landlock,
            advice: "use Linux 6.2 or later, with `landlock` in the kernel parameter `lsm`",
        },
        plain(
            "seccomp",
            machine.seccomp,
            "use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows it",
        ),
        plain(
            "close_range",
            machine.close_range,
            "use Linux 5.11 or later: without it no plugin runs in a process of its own",
        ),
        plain(
            "pidfd",
            machine.pidfd,
            "use Linux 5.3 or later: without it no plugin runs in a process of its own",
        ),
        plain(
            "memory files",
            machine.memory_files,
            "give hosts an image directory: libraries are mapped from there",
        ),
        plain(
            "membarrier",
            machine.membarrier,
            "nothing: calls cost a few nanoseconds more",
        ),
        plain(
            "user namespaces",
            machine.user_namespaces,
            "nothing: no host needs them",
        ),
        Row {
            name: "cgroup v2",
            is_there: cgroup
                .is_some_and(|group| group.is_writable && !group.controllers.is_empty()),
            found: controllers,
            advice: "nothing: memory and processor time are held to limits of each process",
        },
    ]
}

impl Row {
    fn cells(self) -> [String; 4] {
        let (state, advice) = match self.is_there {
            true => ("ok", ""),
            false => ("missing", self.advice),
        };
        [
            self.name.to_owned(),
            state.to_owned(),
            self.found,
            advice.to_owned(),
        ]
    }
}

fn told(leftover: &Leftover) -> String {
    let path = leftover.path.display();
    let what = match leftover.exists {
        true => format!("left behind: `{path}`, which `plg doctor --sweep` removes"),
        false => format!("left behind: processes of `{path}`, which is gone"),
    };
    let numbers = leftover.processes.iter().map(i32::to_string);
    match numbers.collect::<Vec<_>>().join(" ") {
        none if none.is_empty() => what,
        numbers => format!("{what}; end what works there with `kill {numbers}`"),
    }
}
