//! `plg dev`: the inner loop of an author, from saving a file to the new answer.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anstream::stderr;
use anstyle::Style;
use clap::{Args, Parser};
use plg_host::{Context, Error, Handle, Host, Limits, MANIFEST, Unloaded, UpgradeOptions};
use serde::Serialize;
use serde_json::Value;

use super::Global;
use super::call::{Question, others};
use crate::answer::{Answer, Document};
use crate::artifact::{self, Profile};
use crate::crates::{self, Origins};
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::makefile;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::progress;
use crate::sources::{Change, Changes};
use crate::target::Target;

/// Build, upgrade and call a plugin again whenever its sources change
///
/// The plugin stays loaded in one host: each good build replaces the one before as an upgrade in
/// production would, and a build that fails leaves the old one answering. The call after `--` is made
/// again after each build. Sources are all files of the crate, and of crates that it depends on by path,
/// without `target`, hidden files and what editors leave. With `--json` every round is an object on a
/// line of its own. Ctrl-C ends it with status 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg dev plugins/hello -- call greet name=Ada
  plg dev -- call text.count text='two words' --timeout 5s
  plg dev --once --json -- call greet name=Ada")]
pub(crate) struct Dev {
    /// The directory of the plugin's sources, or its name in the plugin directory
    #[arg(default_value = ".")]
    dir: String,
    /// Build and call once, and end with the status that the call would have
    #[arg(long)]
    once: bool,
    /// Look for changes twice a second, on a file system that does not tell of them
    #[arg(long, conflicts_with = "once")]
    poll: bool,
    /// Build and call the release build of a crate
    #[arg(long)]
    release: bool,
    /// What to call after each build, as `plg call` takes it: `call LABEL [KEY=VALUE]…`; unless
    /// `--timeout` says otherwise, it may take 30s
    #[arg(last = true, value_name = "CALL")]
    call: Vec<String>,
}

/// What stands after `-- call`.
#[derive(Debug, Parser)]
#[command(name = "call", no_binary_name = true, disable_help_flag = true)]
struct Asked {
    #[command(flatten)]
    question: Question,
}

/// A plugin whose builds follow each other in one host.
struct Session<'a> {
    directory: PathBuf,
    is_crate: bool,
    profile: Profile,
    question: Option<(Question, Context)>,
    output: &'a mut Output,
    host: Host,
    /// The plugin, and which build of it answers.
    loaded: Option<(Handle, Stamp)>,
    rounds: u64,
    /// When the last build ended.
    built: SystemTime,
}

/// What `--json` prints of a round.
#[derive(Serialize)]
struct Round<'a> {
    event: &'static str,
    round: u64,
    changed: Vec<String>,
    /// How long cargo or make took.
    build_ms: f64,
    /// How long everything else took, from the moment that the change was seen.
    rest_ms: f64,
    plugin: Option<&'a str>,
    version: Option<String>,
    generation: Option<u64>,
    /// Why the build before is still mapped, if it is.
    retained: Option<String>,
    answer: Option<Document<'a>>,
    problem: Option<Value>,
}

/// Tells builds apart, without reading them: the library, and the manifest where one stands beside it.
type Stamp = Vec<Option<(u64, u64, Option<SystemTime>)>>;

/// How long a call may take when nobody says: the loop waits for it.
const ANSWER: Duration = Duration::from_secs(30);

impl Dev {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let began = Instant::now();
        let question = question(&self.call)?;
        let profile = Profile::release(self.release);
        let target = Target::find(&self.dir, global.plugin_dir())?;
        let (directory, is_crate) = match &target {
            Target::Crate(directory) => (directory, true),
            Target::Make(directory) => (directory, false),
            Target::Library(path) | Target::Directory(path) => {
                return Err(artifact::no_sources(path).into());
            }
            Target::Installed(installed) => {
                return Err(artifact::no_sources(&installed.directory).into());
            }
        };
        let mut session = Session {
            directory: directory
                .canonicalize()
                .unwrap_or_else(|_| directory.clone()),
            is_crate,
            profile,
            question,
            output,
            host: host()?,
            loaded: None,
            rounds: 0,
            built: SystemTime::UNIX_EPOCH,
        };
        let find = |name: &str| Target::find(name, global.plugin_dir());
        for other in others(&target, profile, find)? {
            let _ = other.load(&session.host)?;
        }
        let first = Change {
            files: Vec::new(),
            seen: began,
        };
        if self.once {
            return session.round(&first, None);
        }
        session.run(first, !self.poll)
    }
}

/// A host for builds that follow each other quickly. None of them is brought back, and however many of
/// them stay mapped, the next one is tried.
fn host() -> Result<Host, Error> {
    let limits = Limits {
        retained: usize::MAX,
        ..Limits::default()
    };
    let builder = Host::builder().limits(limits).return_policy(None);
    builder.runner("/proc/self/exe").control(true).build()
}

/// What stands after `--`, with the values that it gives.
fn question(call: &[String]) -> Result<Option<(Question, Context)>, Problem> {
    let Some((verb, arguments)) = call.split_first() else {
        return Ok(None);
    };
    let refused = |detail: String| {
        let help = "for instance `plg dev DIR -- call greet name=Ada`";
        Problem::new("usage.arguments", detail).help(help)
    };
    if verb != "call" {
        let detail = format!("`{verb}` follows `--`, and only `call LABEL …` may");
        return Err(refused(detail));
    }
    let Asked { question } = Asked::try_parse_from(arguments).map_err(|error| {
        let text = error.to_string();
        refused(text.trim().trim_start_matches("error: ").to_owned())
    })?;
    let given = question.context()?;
    Ok(Some((question, given)))
}

impl Session<'_> {
    fn run(&mut self, first: Change, told: bool) -> Result<Exit, Failure> {
        // What cargo cannot read, it complains of when it builds.
        let origins = self.origins().unwrap_or_else(|_| Origins {
            directories: vec![self.directory.clone()],
            workspace: None,
            target: Some(self.directory.join("target")),
        });
        let mut changes = Changes::watch(origins, told);
        let interrupt = Interrupt::listen(changes.stopper())?;
        let mut change = first;
        loop {
            for warning in changes.warnings() {
                self.warn(&warning)?;
            }
            let is_manifest = |file: &PathBuf| file.ends_with("Cargo.toml");
            if change.files.iter().any(is_manifest)
                && let Ok(origins) = self.origins()
            {
                changes.become_of(origins);
            }
            self.round(&change, Some(&interrupt))?;
            if interrupt.came() {
                return Ok(Exit::Ok);
            }
            if self.rounds == 1 {
                self.say("waiting for changes; Ctrl-C ends");
            }
            change = match changes.next(self.built) {
                Some(change) => change,
                None => return Ok(Exit::Ok),
            };
        }
    }

    fn origins(&self) -> Result<Origins, Problem> {
        if self.is_crate {
            return crates::origins(&self.directory);
        }
        Ok(Origins {
            directories: vec![self.directory.clone()],
            ..Origins::default()
        })
    }

    /// Builds, upgrades, calls and prints.
    fn round(&mut self, change: &Change, interrupt: Option<&Interrupt>) -> Result<Exit, Failure> {
        self.rounds += 1;
        let changed = self.names(&change.files);
        if !changed.is_empty() {
            self.say(&format!("changed: {}", shortened(&changed)));
        }
        let building = Instant::now();
        let built = self.build();
        let building = building.elapsed();
        self.built = SystemTime::now();
        if interrupt.is_some_and(Interrupt::came) {
            return Ok(Exit::Ok);
        }
        let served = built.and_then(|build| self.serve(&build));
        let is_served = served.is_ok();
        let (retained, answer) = match served {
            Ok(retained) => (retained, self.ask()),
            Err(problem) => (None, Err(problem)),
        };
        let rest = change.seen.elapsed().saturating_sub(building);
        let exit = match &answer {
            Ok(_) => Exit::Ok,
            Err(problem) => problem.exit(),
        };
        if self.output.is_json() {
            let plugin = self.loaded.as_ref().map(|(handle, _)| handle);
            let current = plugin.and_then(|handle| handle.snapshot().current);
            self.output.json_line(&Round {
                event: "round",
                round: self.rounds,
                changed,
                build_ms: milliseconds(building),
                rest_ms: milliseconds(rest),
                plugin: plugin.map(Handle::name),
                version: current.as_ref().map(|current| current.version.to_string()),
                generation: current.as_ref().map(|current| current.number),
                retained,
                answer: match &answer {
                    Ok(answer) => answer.as_ref().map(Answer::to_json),
                    Err(_) => None,
                },
                problem: answer.as_ref().err().map(Problem::to_json),
            })?;
            return Ok(exit);
        }
        if let Some(reason) = retained {
            self.say(&format!("the build before stays mapped: {reason}"));
        }
        match (&answer, &self.question) {
            (Ok(Some(answer)), Some((_, given))) => {
                answer.print(given, &mut self.output.text())?;
            }
            (Ok(_), _) => {}
            (Err(problem), _) => {
                self.output.problem(problem)?;
                if !is_served {
                    self.say_who_answers();
                }
            }
        }
        let tool = if self.is_crate { "cargo" } else { "make" };
        self.say(&format!(
            "{tool} {} ms, the rest {} ms",
            building.as_millis(),
            rest.as_millis()
        ));
        Ok(exit)
    }

    /// Returns what the host loads.
    fn build(&self) -> Result<PathBuf, Problem> {
        if self.is_crate {
            return crates::build(&self.directory, self.profile);
        }
        makefile::build(&self.directory)?;
        Ok(self.directory.clone())
    }

    /// Lets the build answer from now on. Says why the one before is still mapped, if it is.
    fn serve(&mut self, build: &Path) -> Result<Option<String>, Problem> {
        let stamp = stamp(build)?;
        let Some((before, _)) = self.loaded.as_ref().filter(|(_, known)| *known != stamp) else {
            if self.loaded.is_none() {
                self.loaded = Some((self.host.load(build)?, stamp));
            }
            return Ok(None);
        };
        // Who changes the version does not always go up.
        let options = UpgradeOptions {
            allow_downgrade: true,
        };
        let retired = match self.host.upgrade_with(before.name(), build, options) {
            Ok(upgraded) => {
                let before = before.clone();
                self.loaded = Some((before, stamp));
                upgraded.retired
            }
            Err(error) if error.code() == "upgrade.other_plugin" => {
                let now = self.host.load(build)?;
                let retired = self.host.unload(before.name());
                self.loaded = Some((now, stamp));
                retired?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(match retired {
            Unloaded::Retained { reason } => Some(format!("{reason:?}")),
            Unloaded::Unmapped => None,
        })
    }

    fn ask(&self) -> Result<Option<Answer>, Problem> {
        let (Some((handle, _)), Some((question, given))) = (&self.loaded, &self.question) else {
            return Ok(None);
        };
        let context = progress::watched(given.clone());
        let context = context.timeout(question.timeout.unwrap_or(ANSWER));
        let answer = Answer::of(handle, &question.label, context);
        progress::clear();
        Ok(Some(answer?))
    }

    /// The files as seen from the plugin's directory.
    fn names(&self, files: &[PathBuf]) -> Vec<String> {
        let name = |file: &PathBuf| {
            let name = file.strip_prefix(&self.directory).unwrap_or(file);
            name.display().to_string()
        };
        files.iter().map(name).collect()
    }

    /// When the new build is not there, the one before still is.
    fn say_who_answers(&self) {
        let current = self.loaded.as_ref().and_then(|(handle, _)| {
            let current = handle.snapshot().current?;
            Some(format!("{} {}", handle.name(), current.version))
        });
        if let Some(current) = current {
            self.say(&format!("{current} goes on answering"));
        }
    }

    /// Says how it goes. In JSON the round says it.
    fn say(&self, text: &str) {
        const FAINT: Style = Style::new().dimmed();
        if !self.output.is_json() {
            let line = format!("{FAINT}[{}] {}{FAINT:#}", self.rounds, printable(text));
            // What nobody can read is no reason to fail.
            let _ = writeln!(stderr().lock(), "{line}");
        }
    }

    fn warn(&mut self, warning: &Problem) -> io::Result<()> {
        if !self.output.is_json() {
            self.output.warn(warning);
            return Ok(());
        }
        let mut document = warning.to_json();
        document["event"] = "warning".into();
        self.output.json_line(&document)
    }
}

/// What tells the build at this path, a library or a directory with one, from another.
fn stamp(build: &Path) -> Result<Stamp, Problem> {
    let files = if build.is_dir() {
        vec![artifact::declared(build)?, build.join(MANIFEST)]
    } else {
        vec![build.to_owned()]
    };
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
    };
    Ok(files.iter().map(stamp).collect())
}

/// So many names that they fit on a line.
fn shortened(names: &[String]) -> String {
    match names {
        [first, second, third, _, ..] => {
            let more = names.len() - 3;
            format!("{first}, {second}, {third} and {more} more")
        }
        few => few.join(", "),
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
