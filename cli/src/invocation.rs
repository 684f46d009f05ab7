//! One call of a plugin in a host of its own, under a deadline that holds even if the plugin does not.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Context, Error, Host};

use crate::answer::Answer;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::progress;
use crate::state::State;
use crate::target::Loadable;

/// What is to be called.
pub(crate) struct Invocation {
    /// What the host loads.
    pub(crate) plugin: Loadable,
    /// What it loads before, for the plugin to call.
    pub(crate) others: Vec<Loadable>,
    pub(crate) label: String,
    pub(crate) context: Context,
    pub(crate) timeout: Option<Duration>,
    /// Whether a child tries the library first.
    pub(crate) probe: bool,
    /// How far the plugins are trusted.
    pub(crate) level: Level,
    /// What its host remembers, and what it is told of earlier ones.
    pub(crate) state: State,
}

/// The plugin's thread, on which it may still be unloading.
pub(crate) struct Unloading {
    done: Receiver<()>,
    until: Instant,
}

/// How long an unload may take where no deadline was given: the host itself waits for drains and threads.
const UNLOAD: Duration = Duration::from_secs(10);
/// As large as the stack of a main thread usually is.
const STACK: usize = 8 << 20;

impl Invocation {
    /// Loads the plugin and calls it, on a thread that is left behind when the deadline passes.
    pub(crate) fn run(self) -> (Result<Answer, Problem>, Unloading) {
        let started = Instant::now();
        let timeout = self.timeout;
        let (label, plugin) = (self.label.clone(), self.plugin.clone());
        let (answers, answer) = mpsc::channel();
        let (unloaded, done) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("call".to_owned())
            .stack_size(STACK)
            .spawn(move || self.run_here(started, &answers, &unloaded));
        // A plugin that is cut off is not unloaded either.
        let mut until = started;
        let mut answered = |outcome| {
            until = match timeout {
                Some(limit) => started.checked_add(limit.saturating_add(grace(limit) * 2)),
                None => None,
            }
            .unwrap_or_else(|| Instant::now() + UNLOAD);
            outcome
        };
        let outcome = match (thread, timeout) {
            (Err(error), _) => Err(no_thread(&error)),
            (Ok(_), Some(limit)) => match answer.recv_timeout(limit.saturating_add(grace(limit))) {
                Ok(outcome) => answered(outcome),
                Err(RecvTimeoutError::Timeout) => Err(late(&label, &plugin, limit)),
                Err(RecvTimeoutError::Disconnected) => Err(panicked(&label)),
            },
            (Ok(_), None) => match answer.recv() {
                Ok(outcome) => answered(outcome),
                Err(_) => Err(panicked(&label)),
            },
        };
        progress::clear();
        (outcome, Unloading { done, until })
    }

    fn run_here(
        self,
        started: Instant,
        answers: &Sender<Result<Answer, Problem>>,
        unloaded: &Sender<()>,
    ) {
        let host = match self.host() {
            Ok(host) => host,
            Err(problem) => {
                let _ = answers.send(Err(problem));
                return;
            }
        };
        // Nobody listens any more once the deadline has passed.
        let _ = answers.send(self.call(&host, started).map_err(Problem::from));
        drop(host);
        let _ = unloaded.send(());
    }

    fn host(&self) -> Result<Host, Problem> {
        let home = [&self.plugin]
            .into_iter()
            .chain(&self.others)
            .find_map(Loadable::home);
        let builder = || {
            let builder = match home {
                Some(home) => Host::builder().home(home),
                None => Host::builder(),
            };
            // Whoever calls by hand is told why a library is refused, and can ask for another place.
            let rule = Rule::new(self.level).fallback(false);
            builder.policy(Policy::new(rule)).runner("/proc/self/exe")
        };
        if !self.probe {
            return Ok(self.state.host(builder)?);
        }
        let program = std::env::current_exe().map_err(|error| {
            Problem::new("native.probe_start", "this program's own file is not known")
                .because(&error)
        })?;
        Ok(self.state.host(|| builder().probe_with(&program))?)
    }

    fn call(self, host: &Host, started: Instant) -> Result<Answer, Error> {
        for other in &self.others {
            let _ = other.load(host)?;
        }
        let handle = self.plugin.load(host)?;
        let mut context = self.context;
        if let Some(deadline) = self.timeout.and_then(|limit| started.checked_add(limit)) {
            context = context.deadline(deadline);
        }
        Answer::of(&handle, &self.label, context)
    }
}

impl Unloading {
    /// Waits until the plugin is unloaded, so that its destructors do not race the end of the process.
    /// What runs longer than it may is cut off, and the process with it.
    pub(crate) fn end(self, exit: Exit) -> Exit {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => exit,
            Err(RecvTimeoutError::Timeout) => exit.now(),
        }
    }
}

/// A plugin that keeps to its deadline answers a moment after it, and that answer is better than ours.
fn grace(limit: Duration) -> Duration {
    (limit / 25).min(Duration::from_millis(100))
}

fn no_thread(error: &std::io::Error) -> Problem {
    Problem::new("io.failed", "failed to start a thread for the call").because(error)
}

fn late(label: &str, plugin: &Loadable, limit: Duration) -> Problem {
    let detail = format!(
        "`{label}` of `{plugin}` was not done within {}, and goes on until this process ends",
        humantime::format_duration(limit)
    );
    Problem::new("call.timeout", detail)
        .with("label", label)
        .with("path", plugin.to_string())
}

fn panicked(label: &str) -> Problem {
    let detail = format!("the host panicked while it called `{label}`");
    Problem::new("host.panicked", detail)
}
