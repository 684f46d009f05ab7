//! Every cap the host holds a plugin or a file to.

use std::time::Duration;

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
    /// How long an upgrade or an unload waits for calls in the old generation.
    pub drain: Duration,
    /// How long an unload waits for a plugin's own threads after `stop`.
    pub stop: Duration,
    /// How long a probe may take.
    pub probe: Duration,
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
            drain: Duration::from_secs(5),
            stop: Duration::from_secs(2),
            probe: Duration::from_secs(2),
        }
    }
}
