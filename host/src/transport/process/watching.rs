//! How a child is looked after while it runs: asked whether it is well, and ended when nobody calls.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::Until;
use super::error::ProcessError;
use super::health::{Due, HYSTERESIS, Rhythm};
use super::launch::Running;
use super::supervisor::{Kept, Process};

/// A child is being stopped aside, until this is dropped.
struct Leaving(Arc<Process>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.has_left();
    }
}

/// How much later than it would end by itself a child is ended for want of calls, at most.
const SLACK: Duration = Duration::from_secs(5);
/// No child is asked more often.
const LEAST: Duration = Duration::from_millis(1);

impl Process {
    /// Has the child looked at when it is due, unless it will be anyway.
    pub(super) fn watch(&self, kept: &mut Kept) {
        if kept.watched {
            return;
        }
        let now = Instant::now();
        let rhythm = self.rhythm();
        let first = match rhythm.idle {
            Some(idle) => idle.min(rhythm.every),
            None => rhythm.every,
        };
        if let Some(when) = now.checked_add(first) {
            kept.watched = true;
            self.build.pulse.look_at(when, &self.own, kept.number);
        }
    }

    /// Does what is due for the child of that number, if it still is the one.
    pub(super) fn look(self: Arc<Self>, number: u64) {
        let mut state = self.lock();
        let Some(kept) = state.kept.as_mut().filter(|kept| kept.number == number) else {
            return;
        };
        let activity = kept.running.activity();
        let rhythm = self.rhythm();
        let own = self.clone();
        let aside: Box<dyn FnOnce() + Send> =
            match kept.health.due(Instant::now(), activity, &rhythm) {
                Due::Nothing => {
                    kept.watched = false;
                    return;
                }
                Due::At(when) => return self.build.pulse.look_at(when, &self.own, number),
                Due::Ask => {
                    let running = kept.running.clone();
                    Box::new(move || own.ask(number, activity.calls, &running))
                }
                // Calls go inside under the same lock, so none is and none will be.
                Due::End => {
                    let Some(kept) = state.kept.take() else {
                        return;
                    };
                    state.leaving += 1;
                    state.restarts.ended_well();
                    let leaving = Leaving(own);
                    Box::new(move || leaving.0.end_idle(kept))
                }
            };
        drop(state);
        // Others are not to wait for what this child does.
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let run = move || tracing::dispatcher::with_default(&listener, aside);
        let thread = thread::Builder::new().name("plg-look".to_owned());
        if let Err(error) = thread.spawn(run) {
            let plugin = self.build.name.as_str();
            tracing::warn!(plugin, "no thread that looks at its process: {error}");
            if let Some(when) = Instant::now().checked_add(rhythm.every) {
                self.build.pulse.look_at(when, &self.own, number);
            }
        }
    }

    /// Asks the child whether it is well, and kills it when it was not for too often.
    fn ask(&self, number: u64, calls: u64, running: &Running) {
        let fate = &running.child.fate;
        let rhythm = self.rhythm();
        let start = Instant::now();
        let until = Until::within(rhythm.limit, fate);
        let problem = match running.tell("GET", "/healthz", b"", &until) {
            Ok(200) => None,
            Ok(status) => Some(format!("it answered {status}")),
            Err(ProcessError::Over) => Some(format!("no answer within {:?}", rhythm.limit)),
            Err(error) => Some(error.to_string()),
        };
        let asked = (start, Instant::now());
        let mut state = self.lock();
        let Some(kept) = state.kept.as_mut().filter(|kept| kept.number == number) else {
            return;
        };
        // Its end is noted by who waits for it.
        if fate.ending().is_some() {
            return;
        }
        let well = problem.is_none();
        let given_up = kept.health.answered(asked, calls, well, &rhythm);
        drop(state);
        match problem {
            Some(problem) if given_up => {
                let why = format!(
                    "its process was not well {HYSTERESIS} times in a row, asked with `/healthz`: {problem}; it was killed"
                );
                self.tell_unhealthy(&why);
                // Nobody else sets it.
                let _ = running.verdict.set(why);
                fate.kill();
            }
            _ => {
                if let Some(own) = self.own.upgrade() {
                    own.look(number);
                }
            }
        }
    }

    /// Ends a child that nobody calls. The next call starts another one, and waits for nothing else.
    fn end_idle(&self, kept: Kept) {
        let idle = self.build.idle.unwrap_or_default();
        let Kept { running, .. } = kept;
        running.stop(&self.build.name, self.build.limits.grace);
        drop(running);
        self.tell_ended(&format!(
            "its process was stopped, because it had no call for {idle:?}"
        ));
    }

    fn rhythm(&self) -> Rhythm {
        let limits = &self.build.limits;
        let idle = self.build.idle;
        Rhythm {
            every: limits.probe_every.max(LEAST),
            limit: limits.probe_timeout,
            idle: idle.and_then(|idle| idle.checked_add((idle / 2).min(SLACK))),
        }
    }
}
