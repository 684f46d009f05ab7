//! How long the program lives: until it is asked to end, its host is gone, or nobody calls it any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many calls may run at once, at least. What comes over it is answered 503.
const CALLS: usize = 240;
/// How long what began may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// The same when the host is gone and nobody waits for it.
const LOST_GRACE: Duration = Duration::from_millis(500);

/// What runs, and whether it should end.
#[derive(Debug)]
pub(super) struct Life {
    state: Mutex<State>,
    changed: Condvar,
    /// As many requests as the state has, for who need not know for sure.
    requests: AtomicUsize,
    /// How many calls may run at once.
    calls: usize,
}

#[derive(Debug)]
struct State {
    /// Whether calls can be taken.
    is_ready: bool,
    /// Requests whose answer is not written yet.
    requests: usize,
    /// How many of these are calls, or the plugin's own.
    calls: usize,
    last_call: Instant,
    end: Option<(End, Instant)>,
}

/// Why it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The host asked for it.
    Asked,
    /// The host is gone.
    Lost,
    /// Nobody called for long enough.
    Idle,
    /// The plugin could not be prepared.
    Failed,
}

/// How it came to an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    /// Whether the plugin was prepared, so that it has something to end.
    pub(super) was_ready: bool,
    /// Whether every call that began was answered.
    pub(super) is_clean: bool,
    /// Until when the program must be gone.
    pub(super) deadline: Instant,
}

/// A request whose answer is not written yet, for as long as this lives.
#[derive(Debug)]
pub(super) struct Busy<'a> {
    life: &'a Life,
    is_call: bool,
}

impl Life {
    /// A life in which `calls` may run at once, if the host says how many it makes.
    pub(super) fn new(calls: Option<u32>) -> Self {
        let calls = usize::try_from(calls.unwrap_or(0)).unwrap_or(usize::MAX);
        Self {
            calls: calls.max(CALLS),
            requests: AtomicUsize::new(0),
            state: Mutex::new(State {
                is_ready: false,
                requests: 0,
                calls: 0,
                last_call: Instant::now(),
                end: None,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn ready(&self) {
        let mut state = self.lock();
        state.is_ready = true;
        state.last_call = Instant::now();
        self.changed.notify_all();
    }

    /// Whether calls can be taken. What is being prepared is waited for, but no longer than `limit`.
    pub(super) fn soon_takes_calls(&self, limit: Duration) -> bool {
        let is_coming = |state: &mut State| !state.is_ready && state.end.is_none();
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, is_coming);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_ready && state.end.is_none()
    }

    /// Whether no request seems to wait for its answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// A request begins.
    pub(super) fn request(&self) -> Busy<'_> {
        self.lock().requests += 1;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy {
            life: self,
            is_call: false,
        }
    }

    /// Ends it. What comes first is the reason, but that the host is gone hurries every end.
    pub(super) fn end(&self, end: End) {
        let mut state = self.lock();
        if state.end.is_none() || end == End::Lost {
            state.end = Some((end, Instant::now()));
        }
        self.changed.notify_all();
    }

    /// Waits for the end, and until what began is over or should be. `lost` is called once when the host is
    /// gone, before that wait.
    pub(super) fn wait(&self, idle: Option<Duration>, lost: impl Fn()) -> Ended {
        let mut state = self.lock();
        let mut told = false;
        loop {
            let now = Instant::now();
            let wake = match state.end {
                // Nobody is woken when a call ends, so while one runs this looks again after as long.
                None => match idle.and_then(|idle| {
                    let since = if state.calls > 0 {
                        now
                    } else {
                        state.last_call
                    };
                    since.checked_add(idle)
                }) {
                    _ if !state.is_ready => None,
                    Some(at) if at <= now && state.calls == 0 => {
                        state.end = Some((End::Idle, now));
                        continue;
                    }
                    wake => wake,
                },
                Some((end, since)) => {
                    if end == End::Lost && !told {
                        told = true;
                        drop(state);
                        lost();
                        state = self.lock();
                        continue;
                    }
                    let grace = if end == End::Lost { LOST_GRACE } else { GRACE };
                    let deadline = since + grace;
                    if state.requests == 0 || deadline <= now {
                        return Ended {
                            end,
                            was_ready: state.is_ready,
                            is_clean: state.calls == 0,
                            deadline,
                        };
                    }
                    Some(deadline)
                }
            };
            state = match wake {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let woken = self.changed.wait_timeout(state, at - now);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy<'_> {
    /// Makes it a call, if calls can be taken and there is room for one.
    pub(super) fn call(&mut self) -> bool {
        let mut state = self.life.lock();
        let is_open = state.is_ready && state.end.is_none() && state.calls < self.life.calls;
        if is_open && !self.is_call {
            state.calls += 1;
            self.is_call = true;
        }
        is_open
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.life.lock();
        state.requests -= 1;
        self.life.requests.fetch_sub(1, Ordering::Relaxed);
        if self.is_call {
            state.calls -= 1;
            state.last_call = Instant::now();
        }
        if state.end.is_some() {
            self.life.changed.notify_all();
        }
    }
}
