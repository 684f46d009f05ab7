//! How plugin directories are followed.

use std::time::Duration;

/// How [`Host::watch`](crate::Host::watch) follows the plugin directories.
///
/// ```
/// use std::time::Duration;
/// use plg_host::WatchOptions;
///
/// let careful = WatchOptions {
///     settle: Duration::from_secs(1),
///     unload_removed: false,
///     ..WatchOptions::default()
/// };
/// assert_eq!(careful.rescan, Some(Duration::from_secs(2)));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WatchOptions {
    /// How long a file must not have changed before it is taken; 100 ms by default. Writers that pause
    /// for longer in the middle of a file that keeps its size should write elsewhere and rename.
    pub settle: Duration,
    /// How often everything is looked at though no event came, because events get lost; every 2 seconds by
    /// default. With `None` that is only done where it is known that there can be no events.
    pub rescan: Option<Duration>,
    /// Whether a plugin that is gone from its directory is unloaded; yes by default.
    pub unload_removed: bool,
    /// Whether an older version replaces a newer one; yes by default, for what stands in the directory is
    /// what the operator wants.
    pub allow_downgrade: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(100),
            rescan: Some(Duration::from_secs(2)),
            unload_removed: true,
            allow_downgrade: true,
        }
    }
}
