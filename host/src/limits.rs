//! Every cap the host holds a plugin or a file to.

use std::time::Duration;

use plg_packaging::bundle;

/// Every cap, with defaults that suit a server.
///
/// ```
/// let limits = plg_host::Limits { plugins: 64, ..plg_host::Limits::default() };
/// assert_eq!(limits.depth, 32);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Images mapped at once, retained ones included.
    pub plugins: usize,
    /// Retained generations of one plugin; one more upgrade is refused then.
    pub retained: usize,
    /// How deep calls may nest, from plugin to plugin.
    pub depth: u32,
    /// Bytes of one value that a plugin sets, lists and maps counted with what they hold.
    pub value_bytes: usize,
    /// Bytes of one key that a plugin sets.
    pub key_bytes: usize,
    /// Values in one context.
    pub values: usize,
    /// Bytes of one error message or log line; what is longer is cut.
    pub text_bytes: usize,
    /// Labels counted separately per plugin; calls of others are counted together.
    pub labels: usize,
    /// Bytes of a plugin's library.
    pub image_bytes: u64,
    /// What a bundle may take.
    pub bundle: bundle::Limits,
    /// How long an upgrade or an unload waits for calls in the old generation.
    pub drain: Duration,
    /// How long an unload waits for a plugin's own threads after `stop`.
    pub stop: Duration,
    /// How long a plugin's process may take until it takes calls.
    pub start: Duration,
    /// How long a plugin's process may take to end before it is killed.
    pub grace: Duration,
    /// How often a plugin's process is asked whether it is well, while it has calls and once after the last of
    /// them. One that was not well three times in a row is killed. `Duration::MAX` never asks.
    pub probe_every: Duration,
    /// How long that may take each time.
    pub probe_timeout: Duration,
    /// With so many starts of a plugin's process within [`restarts_within`](Self::restarts_within) it is given up
    /// until it is loaded again. Ends for want of calls do not count.
    pub restarts: usize,
    /// Within how long they count, and how long a process has to live to be one that works.
    pub restarts_within: Duration,
    /// How long after a bad end a plugin's process may be started again; it doubles each time.
    pub back_off: Duration,
    /// How long at most. With [`restarts`](Self::restarts) pauses that together take longer than
    /// [`restarts_within`](Self::restarts_within), a process is never given up.
    pub back_off_most: Duration,
    /// How long a probe of an image may take.
    pub probe: Duration,
    /// Calls inside one plugin at once; further ones wait.
    pub in_flight: usize,
    /// Calls of one plugin that wait; further ones are refused.
    pub queue: usize,
    /// Calls of one generation that did not come back at their deadline; with that many, or as many as may be
    /// inside, further ones are refused. Those that are inside already may still be lost.
    pub lost: usize,
    /// How long a plugin's `init` may take.
    pub init: Duration,
    /// How long new calls may be held back while a plugin's state goes from one build to the next.
    pub state: Duration,
    /// Bytes of all values of a plugin's state.
    pub state_bytes: usize,
    /// How long a hook may take to object.
    pub hook: Duration,
    /// How often the state of the process is compared with what it was, and retained code is tried again.
    pub round: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plugins: 512,
            retained: 16,
            depth: 32,
            value_bytes: 16 << 20,
            key_bytes: 256,
            values: 4096,
            text_bytes: 16 << 10,
            labels: 1024,
            image_bytes: 1 << 30,
            bundle: bundle::Limits::default(),
            drain: Duration::from_secs(5),
            stop: Duration::from_secs(2),
            start: Duration::from_secs(5),
            grace: Duration::from_secs(5),
            probe_every: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            restarts: 5,
            restarts_within: Duration::from_secs(60),
            back_off: Duration::from_millis(100),
            back_off_most: Duration::from_secs(30),
            probe: Duration::from_secs(2),
            in_flight: 64,
            queue: 256,
            lost: 4,
            init: Duration::from_secs(30),
            state: Duration::from_secs(5),
            state_bytes: 64 << 20,
            hook: Duration::from_secs(1),
            round: Duration::from_secs(10),
        }
    }
}
