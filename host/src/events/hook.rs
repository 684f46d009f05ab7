//! Subscribers, each on a thread of its own: one that panics, blocks or is slow harms nobody.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant, SystemTime};

use super::event::{Event, Phase, Step, Subject};
use super::stream::{CAPACITY, Events};
use crate::plugin::workers::acting;

/// Something that is asked before and told after.
///
/// It runs on a thread of its own. A panic in it is caught and logged, and counts as no objection. What
/// it takes longer than [`Limits::hook`](crate::Limits::hook) to object to goes ahead, and until it has
/// caught up it is not asked; events that it has no room for are dropped. What it makes the host do itself
/// it is not asked or told about.
pub trait Hook: Send + 'static {
    /// Something is about to happen; says whether it may. Not asked about what cannot be prevented:
    /// crashes, demotions and notices.
    fn before(&mut self, event: &Event) -> Verdict {
        let _ = event;
        Verdict::Go
    }

    /// Something happened or failed.
    fn after(&mut self, event: &Event) {
        let _ = event;
    }
}

impl<T: Hook + ?Sized> Hook for Box<T> {
    fn before(&mut self, event: &Event) -> Verdict {
        (**self).before(event)
    }

    fn after(&mut self, event: &Event) {
        (**self).after(event);
    }
}

/// What a hook says to something that is about to happen.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Verdict {
    /// It may happen.
    Go,
    /// It must not, for this reason.
    Veto(String),
}

/// What a hook is asked and told about, and when among others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookOptions {
    /// Hooks with a lower number are asked first; of equal ones the one that subscribed first. After a
    /// veto the rest is not asked.
    pub order: i32,
    /// The steps; all but calls by default.
    pub steps: Vec<Step>,
    /// Which calls, when [`Step::Call`] is among the steps.
    pub calls: Calls,
}

/// Which calls a hook is asked and told about. Each costs a switch to the hook's thread and back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Calls {
    /// Every one.
    All,
    /// One in this many of each thread.
    Sampled(u32),
}

/// A subscription; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    subscriber: Arc<Subscriber>,
    hooks: Weak<Hooks>,
}

/// Why something does not happen: a hook objected.
#[derive(Debug)]
pub(crate) struct Vetoed {
    pub(crate) reason: String,
}

/// The subscribers of one host.
pub(crate) struct Hooks {
    subscribers: RwLock<Arc<[Arc<Subscriber>]>>,
    streams: Mutex<Vec<Stream>>,
    /// How many subscribers and streams there are, so that nobody is told nothing at no cost.
    listening: AtomicUsize,
    /// No hook wants calls but those whose number is a multiple of this; 0 when none wants any.
    calls: AtomicU64,
    newest: AtomicU64,
    patience: Duration,
    next_subscriber: AtomicU64,
}

struct Stream {
    events: SyncSender<Arc<Event>>,
    missed: Arc<AtomicU64>,
}

struct Subscriber {
    number: u64,
    options: HookOptions,
    /// `None` once the subscription ended.
    messages: Mutex<Option<SyncSender<Message>>>,
    thread: ThreadId,
    /// It did not answer in time and has not caught up since.
    behind: Arc<AtomicBool>,
    missed: AtomicU64,
}

enum Message {
    /// What is about to happen, and where the answer goes.
    Ask(Arc<Event>, SyncSender<Verdict>),
    /// What happened.
    Tell(Arc<Event>),
    /// Everything sent before an answer that came too late is done.
    CaughtUp,
}

impl Default for HookOptions {
    fn default() -> Self {
        let not_calls = |step: &Step| *step != Step::Call;
        Self {
            order: 0,
            steps: Step::ALL.into_iter().filter(not_calls).collect(),
            calls: Calls::Sampled(64),
        }
    }
}

impl Hooks {
    pub(crate) fn new(patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            subscribers: RwLock::new(Arc::new([])),
            streams: Mutex::default(),
            listening: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            patience,
            next_subscriber: AtomicU64::new(0),
        })
    }

    /// Adds a hook.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        options: HookOptions,
        hook: impl Hook,
    ) -> std::io::Result<Subscription> {
        let (messages, received) = mpsc::sync_channel(CAPACITY);
        let behind = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("plg-hook".to_owned()).spawn({
            let behind = behind.clone();
            move || serve(hook, &received, &behind)
        })?;
        let subscriber = Arc::new(Subscriber {
            number: self.next_subscriber.fetch_add(1, Ordering::Relaxed),
            options,
            messages: Mutex::new(Some(messages)),
            thread: thread.thread().id(),
            behind,
            missed: AtomicU64::new(0),
        });
        self.change(|all| {
            all.push(subscriber.clone());
            all.sort_by_key(|subscriber| (subscriber.options.order, subscriber.number));
        });
        Ok(Subscription {
            subscriber,
            hooks: Arc::downgrade(self),
        })
    }

    /// The events from now on.
    pub(crate) fn events(&self) -> Events {
        let (events, received) = mpsc::sync_channel(CAPACITY);
        let missed = Arc::new(AtomicU64::new(0));
        let stream = Stream {
            events,
            missed: missed.clone(),
        };
        // Counted first: whoever takes it out again counts it out.
        self.listening.fetch_add(1, Ordering::Relaxed);
        self.streams().push(stream);
        Events::new(received, missed)
    }

    /// Whether anybody listens.
    pub(crate) fn are_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// Whether some hook wants to know of calls.
    pub(crate) fn want_calls(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// Whether some hook wants to know of this call.
    pub(crate) fn want_call(&self, number: u64) -> bool {
        match self.calls.load(Ordering::Relaxed) {
            0 => false,
            1 => true,
            common => {
                number.is_multiple_of(common)
                    && self.subscribers().iter().any(|one| one.wants_call(number))
            }
        }
    }

    /// Asks whether `step` may happen to `subject`.
    ///
    /// # Errors
    ///
    /// The first objection.
    pub(crate) fn ask(&self, step: Step, subject: impl FnOnce() -> Subject) -> Result<(), Vetoed> {
        self.ask_those(|_| true, step, None, subject)
    }

    /// Asks those that want this call whether it may happen, but not for longer than until `end`.
    ///
    /// # Errors
    ///
    /// The first objection.
    pub(crate) fn ask_about_call(
        &self,
        number: u64,
        end: Option<Instant>,
        subject: impl FnOnce() -> Subject,
    ) -> Result<(), Vetoed> {
        self.ask_those(|one| one.wants_call(number), Step::Call, end, subject)
    }

    fn ask_those(
        &self,
        wanting: impl Fn(&Subscriber) -> bool,
        step: Step,
        end: Option<Instant>,
        subject: impl FnOnce() -> Subject,
    ) -> Result<(), Vetoed> {
        if !self.are_listening() {
            return Ok(());
        }
        let event = self.event(step, Phase::Before, subject(), None, String::new());
        for subscriber in self.subscribers().iter().filter(|one| wanting(one)) {
            if let Verdict::Veto(reason) = subscriber.ask(&event, self.patience, end) {
                return Err(Vetoed { reason });
            }
        }
        Ok(())
    }

    /// Tells that `step` happened to `subject`, or failed with a code.
    pub(crate) fn tell(
        &self,
        step: Step,
        phase: Phase,
        code: Option<&'static str>,
        told: impl FnOnce() -> (Subject, String),
    ) {
        self.tell_those(|_| true, step, phase, code, told);
    }

    /// Tells those that want this call how it went.
    pub(crate) fn tell_of_call(
        &self,
        number: u64,
        phase: Phase,
        code: Option<&'static str>,
        told: impl FnOnce() -> (Subject, String),
    ) {
        self.tell_those(|one| one.wants_call(number), Step::Call, phase, code, told);
    }

    fn tell_those(
        &self,
        wanting: impl Fn(&Subscriber) -> bool,
        step: Step,
        phase: Phase,
        code: Option<&'static str>,
        told: impl FnOnce() -> (Subject, String),
    ) {
        if !self.are_listening() {
            return;
        }
        let (subject, message) = told();
        let event = self.event(step, phase, subject, code, message);
        for subscriber in self.subscribers().iter().filter(|one| wanting(one)) {
            subscriber.tell(&event);
        }
    }

    /// Ends every stream of events: there is nobody any more to tell of.
    pub(crate) fn end_streams(&self) {
        let streams = std::mem::take(&mut *self.streams());
        self.listening.fetch_sub(streams.len(), Ordering::Relaxed);
    }

    /// Makes an event and puts it into the streams, which see them in the order of their numbers.
    fn event(
        &self,
        step: Step,
        phase: Phase,
        subject: Subject,
        code: Option<&'static str>,
        message: String,
    ) -> Arc<Event> {
        let mut streams = self.streams();
        let event = Arc::new(Event {
            number: self.newest.fetch_add(1, Ordering::Relaxed) + 1,
            at: SystemTime::now(),
            step,
            phase,
            plugin: subject.plugin,
            version: subject.version,
            digest: subject.digest,
            generation: subject.generation,
            label: subject.label,
            path: subject.path,
            code,
            message,
        });
        streams.retain(|stream| match stream.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                stream.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => {
                self.listening.fetch_sub(1, Ordering::Relaxed);
                false
            }
        });
        event
    }

    fn subscribers(&self) -> Arc<[Arc<Subscriber>]> {
        let subscribers = self.subscribers.read();
        subscribers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Subscriber>>)) {
        let subscribers = self.subscribers.write();
        let mut subscribers = subscribers.unwrap_or_else(PoisonError::into_inner);
        let before = subscribers.len();
        let mut all = subscribers.to_vec();
        change(&mut all);
        if all.len() > before {
            self.listening
                .fetch_add(all.len() - before, Ordering::Relaxed);
        } else {
            self.listening
                .fetch_sub(before - all.len(), Ordering::Relaxed);
        }
        let calls = all.iter().filter_map(|subscriber| subscriber.calls());
        let calls = calls.fold(0, common);
        *subscribers = all.into();
        self.calls.store(calls, Ordering::Relaxed);
    }
}

impl Subscriber {
    fn wants(&self, event: &Event) -> bool {
        // What a hook makes the host do is not told to that hook, which could not listen anyway.
        self.options.steps.contains(&event.step) && self.thread != acting()
    }

    fn wants_call(&self, number: u64) -> bool {
        self.calls()
            .is_some_and(|one_in| number.is_multiple_of(one_in))
    }

    /// One in how many calls it wants.
    fn calls(&self) -> Option<u64> {
        if !self.options.steps.contains(&Step::Call) {
            return None;
        }
        Some(match self.options.calls {
            Calls::All => 1,
            Calls::Sampled(one_in) => u64::from(one_in.max(1)),
        })
    }

    fn ask(&self, event: &Arc<Event>, patience: Duration, end: Option<Instant>) -> Verdict {
        if !self.wants(event) || self.behind.load(Ordering::Acquire) {
            return Verdict::Go;
        }
        let (answer, answered) = mpsc::sync_channel(1);
        if !self.send(Message::Ask(event.clone(), answer)) {
            return Verdict::Go;
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let limit = left.map_or(patience, |left| left.min(patience));
        match answered.recv_timeout(limit) {
            Ok(verdict) => verdict,
            // What is too late by now does not happen anyway.
            Err(RecvTimeoutError::Timeout) if limit < patience => Verdict::Go,
            Err(RecvTimeoutError::Timeout) => {
                self.behind.store(true, Ordering::Release);
                if !self.send(Message::CaughtUp) {
                    self.behind.store(false, Ordering::Release);
                }
                tracing::warn!("a hook did not answer within {patience:?}: {event} goes ahead");
                Verdict::Go
            }
            Err(RecvTimeoutError::Disconnected) => Verdict::Go,
        }
    }

    fn tell(&self, event: &Arc<Event>) {
        if self.wants(event) {
            self.send(Message::Tell(event.clone()));
        }
    }

    /// Whether the hook will get the message: there may be no room, or no hook any more.
    fn send(&self, message: Message) -> bool {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = messages.as_ref().map(|messages| messages.try_send(message));
        drop(messages);
        match sent {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_))) => {
                if self.missed.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("a hook is too slow and misses events");
                }
                false
            }
            Some(Err(TrySendError::Disconnected(_))) | None => false,
        }
    }
}

impl Subscription {
    /// How many events the hook missed because it was too slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.subscriber.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(hooks) = self.hooks.upgrade() {
            let number = self.subscriber.number;
            hooks.change(|all| all.retain(|subscriber| subscriber.number != number));
        }
        // Its thread ends after what it still has to do.
        let mut messages = self
            .subscriber
            .messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        messages.take();
    }
}

/// The greatest number that both are multiples of.
fn common(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        common(other, one % other)
    }
}

/// Runs a hook until nobody can send any more.
fn serve(mut hook: impl Hook, received: &Receiver<Message>, behind: &AtomicBool) {
    for message in received {
        let run = AssertUnwindSafe(|| match &message {
            Message::Ask(event, answer) => {
                let verdict = hook.before(event);
                // Nobody waits any more when it took too long.
                let _ = answer.send(verdict);
            }
            Message::Tell(event) => hook.after(event),
            Message::CaughtUp => behind.store(false, Ordering::Release),
        });
        if let Err(payload) = panic::catch_unwind(run) {
            if let Message::Ask(event, _) | Message::Tell(event) = &message {
                tracing::error!("a hook panicked on {event}");
            }
            // Its drop could panic as well.
            std::mem::forget(payload);
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("number", &self.number)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
